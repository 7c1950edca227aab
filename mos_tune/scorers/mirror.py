# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Exponentiated gradient: each update tilts the mixture that there is."""

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

_NORMALIZE = ("relative", "first", "none")


class MirrorScorer(nn.Module):
    r"""Multiply the probabilities by ``exp(eta * z)`` at every update (mirror descent).

    ``log w = log p + eta * z``, ``p = (1 - floor) * normalise(w) + floor / |available|``, over the
    available datasets, starting with ``w`` = prior. The next update starts from p with its floor,
    so a dataset at the floor is back after a few good updates, however many bad ones it had. With
    ``floor=0`` the log-odds of two datasets move by exactly ``eta * (z_a - z_b)``.

    A reward is a gain g (its unit and sign are the reward's), or two rows, signal s and noise v,
    of which the gain is ``g = s - noise * v``. ``normalize`` makes z of it:

    - ``relative``: ``z = clip((g - mean g) / mean |g|, -1, 2)``, which is ``g / mean g - 1`` while
      no gain is negative. How far a mixture can go in an update depends on eta alone.
    - ``first``: ``z = g / c`` with c the mean of ``|s| + noise * v`` at the first update that has
      any. When all gains vanish in the course of a run, the mixture rests.
    - ``none``: ``z = g``.

    | policy | reward | options |
    |---|---|---|
    | DGA | held-out gain | ``normalize=none average=True floor=0`` |
    | the same, no scale to tune | held-out gain | the defaults |
    | DoReMi | excess loss in nats | ``normalize=none eta=1 floor=0.001 average=True`` |
    | PiKE | gradient signal and noise | ``normalize=first floor=0.01 noise=...`` |

    DoReMi with ``eta=1`` has been seen to end near one dataset; its authors then advise 0.1. In
    PiKE's own terms ``eta / c`` is zeta_1 and ``noise`` is ``zeta_2 / (2 b zeta_1)``, with b the
    global batch: 1 / (2 b) where both weigh the same, 0 for none of its remedy against datasets
    whose gradients do not agree. What is clipped at 0 must be averaged before, in the reward:
    clipped noise has a mean above 0.

    Args:
        prior (Tensor): float64 probabilities to start from, shape ``[N]``.
        seed (int): not used; there is nothing random.
        update_every (UpdateEvery): S, optimizer steps between two updates, or a schedule
            (:class:`~mos_tune.scorers.UpdateSchedule`). Default 100.
        eta (float): step size. Default 0.1, with which 30 relative updates can change odds
            twentyfold and more.
        floor (float): share that is dealt out evenly. Default 0.05.
        normalize (str): ``"relative"``, ``"first"`` or ``"none"``. Default ``"relative"``.
        noise (float | None): weight of the second row. Default None: rewards must have one row.
        average (bool): give the mean of the mixtures of all updates so far, as DoReMi's and DGA's
            final weights; the updates themselves go on from the last one. Default False.

    Raises:
        UserError: if an option is out of its range.

    Source: DoReMi (arXiv 2305.10429), DoGE (2310.15393) and DGA (2410.02498), PiKE (2502.06244).

    Example:
        >>> both = torch.tensor([True, True])
        >>> scorer = MirrorScorer(torch.tensor([0.5, 0.5], dtype=torch.float64), floor=0.0)
        >>> scorer.learn(torch.tensor([3.0, 1.0]), both)
        >>> scorer.probabilities(both).log().diff().tolist()
        [-0.1]
    """

    signed = True

    log_weights: Tensor
    weight_sum: Tensor
    scale: Tensor
    updates: Tensor

    def __init__(
        self,
        prior: Tensor,
        *,
        seed: int = 0,
        update_every: UpdateEvery = 100,
        eta: float = 0.1,
        floor: float = 0.05,
        normalize: str = "relative",
        noise: float | None = None,
        average: bool = False,
    ) -> None:
        super().__init__()
        UpdateSchedule(update_every)
        self.update_every = update_every
        if not is_number(eta) or eta <= 0:
            raise UserError(f"scorer.eta must be a number above 0, got {eta!r}")
        if normalize not in _NORMALIZE:
            raise UserError(f"scorer.normalize must be one of {_NORMALIZE}, got {normalize!r}")
        if not isinstance(average, bool):
            raise UserError(f"scorer.average must be True or False, got {average!r}")
        self._eta, self._normalize, self._average = float(eta), normalize, average
        self._floor = check_floor(floor)
        self._noise = None if noise is None else check_at_least_0("noise", noise)
        self.columns = 1 if noise is None else 2
        self.register_buffer("log_weights", log_prior(prior))
        self.register_buffer("weight_sum", torch.zeros(len(prior), dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(0, dtype=torch.float64))
        self.register_buffer("updates", torch.tensor(0))

    def probabilities(self, available: Tensor) -> Tensor:
        """Give the current mixture; arguments as in :class:`~mos_tune.scorers.Scorer`."""
        log_weights = self.log_weights
        if self._average and self.updates > 0:
            log_weights = self.weight_sum.log()
        return floored_log_softmax(log_weights, available, self._floor).exp()

    def learn(self, rewards: Tensor, available: Tensor) -> None:
        """Tilt the mixture; arguments as in :class:`~mos_tune.scorers.Scorer`."""
        gain, size = self._gain(rewards)
        log_p = floored_log_softmax(self.log_weights, available, self._floor)
        moved = torch.log_softmax(log_p + self._eta * self._z(gain, size, available), dim=0)
        # A dataset that is exhausted keeps the weight that it had.
        self.log_weights = torch.where(available, moved, self.log_weights)
        self.weight_sum = self.weight_sum + moved.exp()
        self.updates = self.updates + 1

    def _gain(self, rewards: Tensor) -> tuple[Tensor, Tensor]:
        """Give the gains and their magnitudes, float64, shape ``[N]``."""
        if self._noise is None:
            gain = one_row(rewards, "MirrorScorer without scorer.noise")
            return gain, gain.abs()
        if rewards.dim() != 2 or rewards.shape[1] != 2:
            raise UserError(
                f"scorer.noise is {self._noise}, for rewards of two numbers per dataset, signal "
                f"and noise, but the reward gives {rewards[0].numel()}"
            )
        signal, noise = (one_row(row, "MirrorScorer") for row in rewards.unbind(dim=1))
        return signal - self._noise * noise, signal.abs() + self._noise * noise.abs()

    def _z(self, gain: Tensor, size: Tensor, available: Tensor) -> Tensor:
        if self._normalize == "relative":
            among = gain[available]
            # Over the mean gain itself, a mean below 0 would turn the order round.
            mean = among.abs().mean()
            return ((gain - among.mean()) / mean).clamp(-1, 2) if mean > 0 else gain
        if self._normalize == "first":
            if self.scale == 0:
                self.scale = size[available].mean()
            return gain / self.scale if self.scale > 0 else gain
        return gain
