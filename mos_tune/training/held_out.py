# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Held-out loss per dataset."""

import torch
from torch import Tensor, nn

from mos_tune.rewards import ProbeBatch, Probes, measuring, response_log_likelihood


def held_out_losses(model: nn.Module, probes: Probes) -> Tensor:
    """Compute the mean loss per response token of each dataset's held-out examples.

    Args:
        model (nn.Module): the model as it is now.
        probes (Probes): the held-out examples, the same ones every time.

    Returns:
        Tensor: float64 losses in nats per response token, shape ``[N]``.
    """

    def loss_and_count(batch: ProbeBatch) -> Tensor:
        total, count = response_log_likelihood(model, batch.tokens, batch.labels)
        return torch.stack([-total, count], dim=1)

    with measuring(model):
        loss, count = probes.sum(loss_and_count).unbind(dim=1)
    return loss / count
