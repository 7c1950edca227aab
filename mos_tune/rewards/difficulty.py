# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Difficulty: how much of its starting perplexity a dataset has kept (Eq. 9 and 10)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mos_tune.rewards.base import Reward
from mos_tune.rewards.forward import response_log_likelihood
from mos_tune.rewards.probes import ProbeBatch, Probes


class DifficultyReward(Reward):
    r"""Mean ratio of an example's perplexity under the current and the untouched model.

    ``R(i) = (1/L) * sum_j PPL(y_j; x_j, theta) / PPL(y_j; x_j, theta_0)``, over response tokens
    only. A dataset that is learned quickly falls below 1 quickly. With a specialist, its reward is
    doubled (MoSpec). Examples without a response token are left out of the mean.

    theta_0 is never held beside theta: before step 1 the model still is theta_0, so the
    perplexities of all probe examples of the run are computed then and only the numbers are kept.

    Args are those of :class:`~mos_tune.rewards.Reward`. Range: above 0; a ratio, no unit.

    Source: Mixture-of-Skills, Eq. 9, Eq. 10 and section 6.
    """

    # Dataset number and index -> mean log-likelihood under theta_0; replaced as a whole.
    _reference: Mapping[tuple[int, int], float] = {}

    def prepare(self, model: nn.Module, probes: Probes) -> None:
        """Compute theta_0's mean log-likelihood per response token of every probe example."""
        means = probes.each(
            lambda batch: _mean_log_likelihood(model, batch)[:, None],
            progress="Perplexities of the untouched model",
        )
        new = dict(zip(probes.positions, means[:, 0].tolist(), strict=True))
        # What a resumed run knows already stays, to the bit.
        self._reference = new | getattr(self, "_reference", {})

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the mean ratios, shape ``[N]``."""

        def ratio_and_count(batch: ProbeBatch) -> Tensor:
            now = _mean_log_likelihood(model, batch)
            reference = now.new_tensor([self._reference[position] for position in batch.positions])
            ratio = torch.exp(reference - now)
            has_response = ~torch.isnan(reference)
            return torch.stack(
                [ratio.where(has_response, ratio.new_zeros(())), has_response], dim=1
            )

        total, count = probes.sum(ratio_and_count).unbind(dim=1)
        ratios = total / count
        if self.specialist is not None:
            ratios[self.specialist] *= 2
        return ratios

    def state_dict(self) -> dict[str, Any]:
        """Give the smoothed rewards and theta_0's numbers, which cannot be computed again."""
        positions = torch.tensor(list(self._reference)).reshape(-1, 2)
        values = torch.tensor(list(self._reference.values()), dtype=torch.float64)
        return super().state_dict() | {"positions": positions, "log_likelihoods": values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        positions = [(dataset, index) for dataset, index in state["positions"].tolist()]
        self._reference = dict(zip(positions, state["log_likelihoods"].tolist(), strict=True))


def _mean_log_likelihood(model: nn.Module, batch: ProbeBatch) -> Tensor:
    # nan where an example has no response token: 0 / 0.
    total, count = response_log_likelihood(model, batch.tokens, batch.labels)
    return total / count
