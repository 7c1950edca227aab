# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Transferability: how much a dataset resembles the others (Eq. 7 and 8)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mos_tune.rewards.base import Reward
from mos_tune.rewards.forward import hidden_states
from mos_tune.rewards.probes import ProbeBatch, Probes


class TransferabilityReward(Reward):
    r"""Mean cosine between a dataset's embedding and those of all datasets, itself included.

    ``R(i) = (1/N) * sum_n cos(z_i, z_n)`` with ``z_i`` the mean over examples of the mean over
    tokens of the topmost hidden state (after the final norm). Prompt AND response tokens count,
    padding does not. With a specialist s, ``R(i) = cos(z_i, z_s)`` (MoSpec). Never computes logits.

    Args are those of :class:`~mos_tune.rewards.Reward`. Range: -1 to 1, clamped at 0; no unit.

    Source: Mixture-of-Skills, Eq. 7, Eq. 8 and section 6.
    """

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the cosines of the current model's mean hidden states, shape ``[N]``."""

        def mean_over_tokens(batch: ProbeBatch) -> Tensor:
            hidden = hidden_states(model, batch.tokens)
            places = torch.arange(hidden.shape[1], device=hidden.device)
            real = places < batch.lengths[:, None]
            return (hidden.float() * real[..., None]).sum(dim=1) / batch.lengths[:, None]

        directions = F.normalize(probes.mean(mean_over_tokens), dim=1)
        cosines = directions @ directions.T
        return cosines.mean(dim=1) if self.specialist is None else cosines[:, self.specialist]
