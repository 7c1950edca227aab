# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""DynamixSFT's policy: the prior, tilted by an average of scaled rewards."""

import torch
from torch import Tensor, nn

from mos_tune.errors import UserError, is_number
from mos_tune.scorers.numerics import (
    check_at_least_0,
    check_floor,
    floored_log_softmax,
    log_prior,
    one_row,
)
from mos_tune.scorers.schedule import UpdateEvery, UpdateSchedule

_NORMALIZE = ("minmax", "first", "none")


class PriorBoltzmannScorer(nn.Module):
    r"""Tilt the prior by a Boltzmann distribution over averaged rewards.

    ``Q <- decay * Q + (1 - decay) * r~`` from Q = 0, and
    ``p = (1 - floor) * prior * exp(beta * Q) / Z + floor / |available|``. ``normalize`` makes r~:

    - ``minmax``, the paper's: ``(R - min R) / (max R - min R)`` over the available datasets, all 0
      where they are equal. Q is from 0 to 1, so the odds of two datasets are at most ``exp(beta)``
      times the prior's. It never goes quiet: rewards of noise alone are stretched to 0 and 1, and
      p wanders about ``(1 - floor) * prior + floor / |available|`` by 0.01 to 0.06 (4 datasets).
    - ``first``: R over the largest available ``|R|`` of the first update that has one, which goes
      quiet as the rewards do.
    - ``none``: R itself.

    A Q of weight 0.95 is slow: 34 % of its way after 8 updates, 90 % after 45. The control that
    it must beat is the fixed mixture of its start, ``(1 - floor) * prior + floor / N``.

    Args:
        prior (Tensor): float64 probabilities, shape ``[N]``; the paper's are by size,
            ``sampler.temperature=1``.
        seed (int): not used; there is nothing random.
        update_every (UpdateEvery): S, optimizer steps between two updates, or a schedule
            (:class:`~mos_tune.scorers.UpdateSchedule`). Default 50, as in the paper, where 10 was
            unstable and 500 slow.
        beta (float): inverse temperature. Default 4, as in the paper for 1B parameters (5 for 8B).
        floor (float): share that is dealt out evenly. Default 0.3, as in the paper.
        decay (float): weight of the OLD Q, from 0 to below 1. Default 0.95, as in the paper; its
            rewards are averaged here alone, with ``reward.smoothing=1``.
        normalize (str): ``"minmax"``, ``"first"`` or ``"none"``. Default ``"minmax"``.

    Raises:
        UserError: if an option is out of its range.

    Source: DynamixSFT (arXiv 2508.12116).

    Example:
        >>> both = torch.tensor([True, True])
        >>> scorer = PriorBoltzmannScorer(torch.tensor([0.75, 0.25], dtype=torch.float64))
        >>> scorer.probabilities(both).tolist()
        [0.675, 0.325]
    """

    signed = True

    values: Tensor
    scale: Tensor

    def __init__(
        self,
        prior: Tensor,
        *,
        seed: int = 0,
        update_every: UpdateEvery = 50,
        beta: float = 4.0,
        floor: float = 0.3,
        decay: float = 0.95,
        normalize: str = "minmax",
    ) -> None:
        super().__init__()
        UpdateSchedule(update_every)
        self.update_every = update_every
        if not is_number(decay) or not 0 <= decay < 1:
            raise UserError(f"scorer.decay must be a number from 0 to below 1, got {decay!r}")
        if normalize not in _NORMALIZE:
            raise UserError(f"scorer.normalize must be one of {_NORMALIZE}, got {normalize!r}")
        self._decay, self._normalize = float(decay), normalize
        self._beta = check_at_least_0("beta", beta)
        self._floor = check_floor(floor)
        self._log_prior = log_prior(prior)
        self.register_buffer("values", torch.zeros(len(prior), dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(0, dtype=torch.float64))

    def probabilities(self, available: Tensor) -> Tensor:
        """Give the current mixture; arguments as in :class:`~mos_tune.scorers.Scorer`."""
        logits = self._beta * self.values + self._log_prior
        return floored_log_softmax(logits, available, self._floor).exp()

    def learn(self, rewards: Tensor, available: Tensor) -> None:
        """Average the rewards; arguments as in :class:`~mos_tune.scorers.Scorer`."""
        scaled = self._scaled(one_row(rewards, "PriorBoltzmannScorer"), available)
        averaged = self._decay * self.values + (1 - self._decay) * scaled
        self.values = torch.where(available, averaged, self.values)

    def _scaled(self, rewards: Tensor, available: Tensor) -> Tensor:
        among = rewards[available]
        if self._normalize == "minmax":
            low, high = among.min(), among.max()
            return (rewards - low) / (high - low) if high > low else torch.zeros_like(rewards)
        if self._normalize == "first":
            if self.scale == 0:
                self.scale = among.abs().max()
            return rewards / self.scale if self.scale > 0 else rewards
        return rewards
