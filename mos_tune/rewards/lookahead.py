# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""How much a step on a dataset would lower the loss of that very minibatch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mos_tune.errors import UserError
from mos_tune.rewards.backward import loss_gradient, signal_and_noise, trainable
from mos_tune.rewards.base import Reward
from mos_tune.rewards.forward import response_log_likelihood
from mos_tune.rewards.gradient_signal import check_two_examples
from mos_tune.rewards.models import reshard
from mos_tune.rewards.probes import ProbeBatch, Probes

_PIECES = 8
_EPS = 1e-8


class LookaheadReward(Reward):
    r"""Relative drop of the loss after a step on the dataset alone: DynamixSFT's look-ahead.

    With ``L(x)`` the mean loss over the response tokens of example x, and ``g`` the gradient of its
    mean over a minibatch of L examples (those with a response):

    - ``mode: step``: ``R(i) = mean_x (L(x; theta) - L(x; theta - lr g)) / (L(x; theta) + 1e-8)``,
      a plain gradient step at the optimizer's learning rate (the paper says no more of it than
      "virtual one-step update"), which is taken back: weights are bit-equal afterwards;
    - ``mode: taylor``: ``R(i) = lr * signal / mean_x L(x)`` with the unbiased squared norm of the
      gradient (:class:`~mos_tune.rewards.GradientSignalReward`, m = 8), to first order the same
      less what follows.

    The step's drop is measured on the examples that it was made for, and holds ``lr noise / L`` of
    their own noise: a dataset without pattern looks useful. The Taylor form does not.

    Cost of an update: N forward and backward passes over ``batch_size`` (L) examples, and for
    ``step`` a forward pass more: ``(4/3) N L / (S B)`` of the training's passes with S steps of B
    examples between updates, 5.3 % with N = 4, L = B = 64, S = 100; ``taylor`` 4 %. Memory beside a
    training step's: one float32 vector of the trainable parameters for ``taylor``, a copy of the
    trainable weights for ``step``; sharded.

    Args:
        names (Sequence[str]): the datasets' names.
        mode (str): ``step`` or ``taylor``. Default ``step``, the paper's.
        batch_size (int): as in :class:`~mos_tune.rewards.Reward`; 128 in the paper.
        smoothing (float): as there, but 1.0, off: DynamixSFT smooths in its scorer, after it has
            scaled the rewards.
        specialist (str | None): must be None, for there is no form for one.

    Range: any sign, not clamped (the step may hurt); a ratio, no unit.

    Raises:
        UserError: if an option is out of its range, the learning rate is not known, or weights are
            too coarse for the step.

    Source: DynamixSFT, ACL Findings 2026, arXiv 2508.12116, with the Taylor form of its appendix.
    """

    signed = True
    specialises = False
    needs_gradients = True

    def __init__(
        self,
        names: Sequence[str],
        *,
        mode: str = "step",
        batch_size: int = 64,
        smoothing: float = 1.0,
        specialist: str | None = None,
    ) -> None:
        super().__init__(names, batch_size=batch_size, smoothing=smoothing, specialist=specialist)
        if mode not in ("step", "taylor"):
            raise UserError(f"reward.mode must be step or taylor, got {mode!r}")
        self._mode = mode

    def prepare(self, model: nn.Module, probes: Probes) -> None:
        """Check before step 1 what a look-ahead needs."""
        _learning_rate(probes)
        if self._mode == "step":
            for parameter in trainable(model):
                if torch.finfo(parameter.dtype).bits < 32:
                    raise UserError(
                        f"reward.mode is step, but weights are in {parameter.dtype}, which rounds "
                        "a step away; use mode: taylor, or dtype: fp32"
                    )

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the relative drops, shape ``[N]``."""
        lr = _learning_rate(probes)
        if self._mode == "taylor":
            check_two_examples(probes)
        drop = _drop_of_a_step if self._mode == "step" else _drop_by_taylor
        return torch.stack([drop(model, probes.only(name), lr) for name in self.names])


def _learning_rate(probes: Probes) -> float:
    if probes.progress is None:
        raise UserError("reward: a look-ahead takes the optimizer's learning rate, not known here")
    return probes.progress.lr


def _drop_by_taylor(model: nn.Module, probes: Probes, lr: float) -> Tensor:
    pieces = min(_PIECES, len(probes.positions))
    signal, _, loss = signal_and_noise(model, probes, pieces)
    return lr * signal / loss


def _drop_of_a_step(model: nn.Module, probes: Probes, lr: float) -> Tensor:
    gradient, losses = loss_gradient(model, probes, of_examples=True)
    has_response = losses[:, 1] > 0
    before = (losses[:, 0] / losses[:, 1])[has_response]
    # Gradients come divided by the number of ranks.
    scale = lr * probes.world_size / max(1, len(before))
    with _moved(model, gradient, scale, probes):
        after = probes.each(lambda batch: _mean_losses(model, batch))[has_response, 0]
    return ((before - after) / (before + _EPS)).mean()


def _mean_losses(model: nn.Module, batch: ProbeBatch) -> Tensor:
    total, count = response_log_likelihood(model, batch.tokens, batch.labels)
    return (-total / count)[:, None]


@contextmanager
def _moved(
    model: nn.Module, gradient: list[Tensor], scale: float, probes: Probes
) -> Iterator[None]:
    """Move the weights against a gradient, and put back the very ones that there were."""
    parameters = trainable(model)
    with torch.no_grad():
        weights = [
            parameter.to_local() if isinstance(parameter, DTensor) else parameter
            for parameter in parameters
        ]
        kept = [weight.clone() for weight in weights]
        for weight, part, parameter in zip(weights, gradient, parameters, strict=True):
            if not isinstance(parameter, DTensor) and probes.world_size > 1:
                part = _whole(part, weight, probes)
            weight.sub_(part, alpha=scale)
    try:
        yield
    finally:
        reshard(model)  # drops what was gathered of the moved weights
        with torch.no_grad():
            for weight, old in zip(weights, kept, strict=True):
                weight.copy_(old)


def _whole(part: Tensor, weight: Tensor, probes: Probes) -> Tensor:
    """Put together a replica's gradient, of which every rank has a part."""
    whole = part.new_zeros(weight.numel())
    whole.tensor_split(probes.world_size)[probes.rank].copy_(part)
    dist.all_reduce(whole)
    return whole.view_as(weight)
