# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Training loss per dataset, taken from what the stock loop hands to its loss."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from mos_tune.rewards.forward import NUM_CHUNKS


class DatasetLoss:
    """Sum the loss over response tokens, and count these, for every dataset.

    A forward hook on the loss module sees logits and labels of each micro-batch. Of a micro-batch
    from one dataset the loss is known already; only a mixed one costs a pass over the logits again,
    without gradient and in chunks.

    Args:
        num_datasets (int): N.
        loss_fn (nn.Module): the recipe's loss, called with logits and shifted labels.
        ignore_index (int): label of tokens that are no response.
        device (torch.device): where the sums are kept between two steps.
    """

    def __init__(
        self, num_datasets: int, loss_fn: nn.Module, ignore_index: int, device: torch.device
    ) -> None:
        self._sums = torch.zeros(num_datasets, 2, dtype=torch.float64, device=device)
        self._ignore_index = ignore_index
        self._datasets = torch.empty(0, dtype=torch.int64)
        self._has_response = True
        loss_fn.register_forward_hook(self._after_loss)

    def begin(self, datasets: list[int], batch: dict[str, Tensor]) -> None:
        """Note the micro-batch whose loss is computed next, still on the CPU: no device sync."""
        self._datasets = torch.tensor(datasets)
        self._has_response = bool((batch["labels"][:, 1:] != self._ignore_index).any())

    def take(self) -> Tensor:
        """Give the sums of all ranks since the last call, and start anew.

        Returns:
            Tensor: float64 loss sum (nats) and response tokens per dataset on the CPU, ``[N, 2]``.
        """
        sums = self._sums.clone()
        self._sums.zero_()
        if dist.is_initialized():
            dist.all_reduce(sums)
        return sums.cpu()

    def _after_loss(self, module: nn.Module, inputs: tuple[Any, ...], loss: Tensor) -> Tensor:
        logits, labels = inputs
        pieces = list(logits) if isinstance(logits, (list, tuple)) else [logits]
        if not self._has_response:
            # The mean over no token is 0 / 0. Such a micro-batch weighs nothing, but its backward
            # pass must still meet the other ranks', and its sum is in float32 as theirs.
            return torch.stack([piece.sum(dtype=torch.float32) for piece in pieces]).sum() * 0.0
        with torch.no_grad():
            if len(self._datasets.unique()) == 1:
                count = (labels != self._ignore_index).sum()
                self._sums[self._datasets[0]] += torch.stack([loss.detach() * count, count])
            else:
                self._add_rows(pieces, labels)
        return loss

    def _add_rows(self, pieces: list[Tensor], labels: Tensor) -> None:
        batch_size = len(self._datasets)
        labels = labels.reshape(batch_size, -1)
        if len(pieces) == 1:
            pieces = list(pieces[0].reshape(*labels.shape, -1).chunk(NUM_CHUNKS, dim=1))
        start = 0
        per_row = labels.new_zeros(batch_size, 2, dtype=torch.float64)
        for piece in pieces:
            target = labels[:, start : start + piece.shape[1]]
            start += piece.shape[1]
            losses = F.cross_entropy(
                piece.flatten(0, 1).float(),
                target.flatten(),
                ignore_index=self._ignore_index,
                reduction="none",
            ).view_as(target)
            per_row[:, 0] += losses.double().sum(dim=1)
            per_row[:, 1] += (target != self._ignore_index).sum(dim=1)
        self._sums.index_add_(0, self._datasets.to(labels.device), per_row)
