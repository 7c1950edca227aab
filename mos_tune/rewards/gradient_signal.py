# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""How strong a dataset's gradient is, and how much of that is noise."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mos_tune.errors import UserError, check_whole
from mos_tune.rewards.backward import dot, piece_gradients, signal_and_noise
from mos_tune.rewards.base import Reward
from mos_tune.rewards.probes import Probes


class GradientSignalReward(Reward):
    r"""Squared norm of a dataset's gradient, and variance of its examples' gradients; unbiased.

    Two numbers of each dataset, for a scorer that takes both: ``signal = |E g_x|^2`` and ``noise =
    E |g_x - E g_x|^2``, where ``g_x`` is the gradient of the mean loss over the response tokens of
    example x. ``|mean g_x|^2`` of a minibatch of L examples is too large by ``noise / L``, which
    for examples without pattern is nearly all of it. So the minibatch's gradient is computed in m
    disjoint pieces, and different pieces' products alone count (a U-statistic):

        ``signal = (|sum_j G_j|^2 - sum_j |G_j|^2) / (B^2 - sum_j b_j^2)``,
        ``noise = (sum_j |G_j|^2 - signal * sum_j b_j^2) / B``

    with the summed gradients ``G_j`` of the ``b_j`` examples of piece j that have a response, ``B =
    sum_j b_j``. A signal may come out below 0, and must be smoothed before it is clamped. A step of
    learning rate lr on a batch of B examples lowers their loss, to first order, by ``lr * signal``;
    noise ``/ B`` is what it spends on chance.

    Cost of an update: N forward and backward passes over ``batch_size`` (L) examples, ``N L / (S
    B)`` of the training's with S steps of B examples between updates: 4 % with N = 4, L = B = 64, S
    = 100. A piece smaller than the number of ranks leaves ranks idle. Memory: as for
    :class:`~mos_tune.rewards.GradientReward`, one float32 vector of the trainable parameters,
    sharded.

    Args:
        names (Sequence[str]): the datasets' names.
        pieces (int): m. Default 8: all but an eighth of the pairs of examples count. At most as
            many as there are examples.
        batch_size (int): as in :class:`~mos_tune.rewards.Reward`.
        smoothing (float): as there.
        specialist (str | None): must be None, since two numbers have no form for one.

    Range: any sign, not clamped, though noise is below 0 by chance alone; squared nats.

    Raises:
        UserError: if an option is out of its range, or a dataset has a single example.

    Source: the two terms of PiKE (Li et al., NeurIPS 2025, arXiv 2502.06244); as an estimate of
    gradient noise McCandlish et al., arXiv 1812.06162.
    """

    signed = True
    columns = ("signal", "noise")
    specialises = False
    needs_gradients = True

    def __init__(
        self,
        names: Sequence[str],
        *,
        pieces: int = 8,
        batch_size: int = 64,
        smoothing: float = 0.9,
        specialist: str | None = None,
    ) -> None:
        super().__init__(names, batch_size=batch_size, smoothing=smoothing, specialist=specialist)
        check_whole("reward.pieces", pieces, 2)
        check_whole("reward.batch_size", batch_size, 2)
        self._pieces = pieces

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute signal and noise, shape ``[N, 2]``."""
        check_two_examples(probes)
        rows = []
        for name in self.names:
            pieces = min(self._pieces, len(probes.indices[name]))
            signal, noise, _ = signal_and_noise(model, probes.only(name), pieces)
            rows.append(torch.stack([signal, noise]))
        return torch.stack(rows)


class GradientNormReward(Reward):
    r"""Mean norm of an example's gradient: the reward of HBO's global actor.

    ``R(i) = (1/L) * sum_x |g_x|`` with ``g_x`` the gradient of the mean loss over the response
    tokens of example x; examples without one are left out. A mean of norms counts noise as signal:
    a dataset without pattern has large gradients, which point nowhere together
    (:class:`GradientSignalReward` tells the two apart).

    HBO's code takes whole sequences as responses, and the norm that gradient clipping returns; here
    it is over all trainable parameters.

    Cost of an update: N times ``batch_size`` passes forward and backward over a single example,
    which every rank makes in full: a gradient of its own needs a pass of its own. Memory: as in a
    training step on a single example.

    Args are those of :class:`~mos_tune.rewards.Reward`; a specialist is refused. Range: above 0;
    nats.

    Source: HBO, ICLR 2026, arXiv 2505.12300.
    """

    specialises = False
    needs_gradients = True

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the mean norms, shape ``[N]``."""
        means = []
        for name in self.names:
            one, norms = probes.only(name), []
            for gradient, losses in piece_gradients(model, one, len(one.positions)):
                if losses[0, 1] > 0:
                    norms.append(probes.world_size * dot(gradient, gradient, probes).cpu().sqrt())
                del gradient  # else it lasts until the next one is there
            means.append(torch.stack(norms).mean() if norms else torch.tensor(torch.nan))
        return torch.stack(means).double()


def check_two_examples(probes: Probes) -> None:
    """Check that every dataset has examples enough for two independent gradients.

    Raises:
        UserError: naming the dataset.
    """
    for name, indices in probes.indices.items():
        if len(indices) < 2:
            raise UserError(
                f"reward: signal and noise need 2 examples of a dataset, but dataset.{name} has "
                f"{len(indices)}"
            )
