# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Shares in proportion to the rewards, in closed form."""

import torch
from torch import Tensor, nn

from mos_tune.errors import UserError
from mos_tune.scorers.numerics import (
    check_at_least_0,
    check_floor,
    floored_log_softmax,
    log_prior,
    one_row,
)
from mos_tune.scorers.schedule import UpdateEvery, UpdateSchedule


class FixedPointScorer(nn.Module):
    r"""Go at every update to where its rewards lead, with no memory of earlier ones.

    ``p = floor / |available| + (1 - floor) * normalise(prior^a * (R / mean R)^k)``, over the
    available datasets; before the first update the prior itself is in the place of
    ``normalise(...)``. Rewards count by their ratios: their unit, and the mean, cancel.

    With the defaults, equal rewards leave the prior as it is. ``prior_exponent=0 floor=0`` is
    ``p = R / sum(R)``, to which :class:`~mos_tune.scorers.MLPScorer` goes in 200 steps of Adam.
    Here an outlier decides one update and no later one, the others keep their ratios when a
    dataset is exhausted, rewards may be of any magnitude, and 1,000 datasets are as fast as four.

    A reward of 0 or below gives no more than the floor. Where no available dataset has one above
    0, none is better than another: all count as equal. One dataset with nearly all reward gets
    nearly ``1 - floor`` until the next update; what damps it is ``reward.smoothing``.

    Args:
        prior (Tensor): float64 probabilities to start from, shape ``[N]``.
        seed (int): not used; there is nothing random.
        update_every (UpdateEvery): S, optimizer steps between two updates, or a schedule
            (:class:`~mos_tune.scorers.UpdateSchedule`). Default 100, as in the paper.
        floor (float): share that is dealt out evenly. Default 0.05: a dataset that is misjudged
            once goes on being seen.
        exponent (float): k; above 1 for greater differences than the rewards', below 1 for smaller.
            Default 1.
        prior_exponent (float): a; 0 to forget the prior at the first update. Default 1.

    Raises:
        UserError: if an option is out of its range.

    Example:
        >>> scorer = FixedPointScorer(torch.tensor([0.5, 0.5], dtype=torch.float64), floor=0.0)
        >>> scorer.learn(torch.tensor([3.0, 1.0]), torch.tensor([True, True]))
        >>> scorer.probabilities(torch.tensor([True, True])).tolist()
        [0.75, 0.25]
    """

    rewards: Tensor
    updates: Tensor

    def __init__(
        self,
        prior: Tensor,
        *,
        seed: int = 0,
        update_every: UpdateEvery = 100,
        floor: float = 0.05,
        exponent: float = 1.0,
        prior_exponent: float = 1.0,
    ) -> None:
        super().__init__()
        UpdateSchedule(update_every)
        self.update_every = update_every
        self._floor = check_floor(floor)
        self._exponent = check_at_least_0("exponent", exponent)
        if exponent == 0:
            raise UserError("scorer.exponent is 0, with which no reward counts; use scorer: null")
        self._prior_exponent = check_at_least_0("prior_exponent", prior_exponent)
        self._log_prior = log_prior(prior)
        self.register_buffer("rewards", torch.zeros(len(prior), dtype=torch.float64))
        self.register_buffer("updates", torch.tensor(0))

    def probabilities(self, available: Tensor) -> Tensor:
        """Give the current mixture; arguments as in :class:`~mos_tune.scorers.Scorer`."""
        logits = self._log_prior
        if self.updates > 0:
            logits = self._prior_exponent * logits
            if (self.rewards[available] > 0).any():
                logits = logits + self._exponent * self.rewards.clamp_min(0).log()
        return floored_log_softmax(logits, available, self._floor).exp()

    def learn(self, rewards: Tensor, available: Tensor) -> None:
        """Take over the rewards; arguments as in :class:`~mos_tune.scorers.Scorer`."""
        self.rewards = one_row(rewards, "FixedPointScorer").clone()
        self.updates = self.updates + 1
