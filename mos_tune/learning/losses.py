# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Loss per dataset: of what is trained on, and of what is held out."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from mos_tune.errors import UserError
from mos_tune.rewards import Probes, mean_losses, measuring
from mos_tune.rewards.forward import NUM_CHUNKS


class DatasetLosses:
    """Sum the training loss over response tokens, and count these, for every dataset.

    A trainer hands over logits and labels of each micro-batch with :meth:`add`, or has
    :meth:`watch` take them from its loss module.

    Args:
        num_datasets (int): N.
        ignore_index (int): label of tokens that are no response. Default -100.
        device (torch.device | None): where the sums are kept between two steps, the model's.
            Default None: the CPU.
    """

    def __init__(
        self, num_datasets: int, *, ignore_index: int = -100, device: torch.device | None = None
    ) -> None:
        self._sums = torch.zeros(num_datasets, 2, dtype=torch.float64, device=device)
        self._ignore_index = ignore_index
        # Trainers that accumulate gradients may read all of a step's micro-batches in advance.
        self._announced: deque[tuple[Tensor, bool]] = deque()

    def watch(self, loss_fn: nn.Module) -> None:
        """Take what a loss module is called with: logits, whole or in chunks, and shifted labels.

        The module then gives 0 for a micro-batch without a response token, and not nan.
        """
        loss_fn.register_forward_hook(self._after_loss)

    def begin(self, datasets: list[int], batch: dict[str, Tensor]) -> None:
        """Note a micro-batch whose loss is computed in its turn, still on the CPU: no device sync.

        Args:
            datasets (list[int]): each row's dataset number.
            batch (dict[str, Tensor]): with ``labels``.
        """
        has_response = bool((batch["labels"][:, 1:] != self._ignore_index).any())
        self._announced.append((torch.tensor(datasets), has_response))

    def take(self) -> Tensor:
        """Give the sums of all ranks since the last call, and start anew.

        Returns:
            Tensor: float64 loss sum (nats) and response tokens per dataset on the CPU, ``[N, 2]``.

        Raises:
            UserError: if a micro-batch was announced whose loss has not come.
        """
        if self._announced:
            raise UserError(
                f"the losses of {len(self._announced)} micro-batches of this step are not known; "
                "the train loop must call DatasetLosses.add for each, or DatasetLosses.watch once"
            )
        sums = self._sums.clone()
        self._sums.zero_()
        if dist.is_initialized():
            dist.all_reduce(sums)
        return sums.cpu()

    def _after_loss(self, module: nn.Module, inputs: tuple[Any, ...], loss: Tensor) -> Tensor:
        logits, labels = inputs
        pieces = list(logits) if isinstance(logits, (list, tuple)) else [logits]
        if self._announced and not self._announced[0][1]:
            self._announced.popleft()
            # The mean over no token is 0 / 0. Such a micro-batch weighs nothing, but its backward
            # pass must still meet the other ranks', and its sum is in float32 as theirs.
            return torch.stack([piece.sum(dtype=torch.float32) for piece in pieces]).sum() * 0.0
        self.add(pieces, labels, loss)
        return loss

    @torch.no_grad()
    def add(
        self, logits: Tensor | list[Tensor], labels: Tensor, mean_loss: Tensor | None = None
    ) -> None:
        """Add the next of the micro-batches that :meth:`begin` announced.

        Args:
            logits (Tensor | list[Tensor]): ``[b, s, v]``, or chunks of it along s.
            labels (Tensor): what follows each position: shifted by one, ``[b, s]``.
            mean_loss (Tensor | None): the mean over its response tokens, if it is known: of a
                micro-batch from one dataset it is all that is needed. Default None: the loss is
                computed, in chunks and without gradient, as it is of a mixed micro-batch.

        Raises:
            UserError: if none is announced: in an evaluation the train loop must not call this.
        """
        if not self._announced:
            raise UserError(
                "DatasetLosses.add was called more often than the loader gave micro-batches; it is "
                "for the losses of training alone, once for each"
            )
        datasets, _ = self._announced.popleft()
        if mean_loss is not None and len(datasets.unique()) == 1:
            count = (labels != self._ignore_index).sum()
            self._sums[datasets[0]] += torch.stack([mean_loss.detach() * count, count])
        else:
            pieces = list(logits) if isinstance(logits, (list, tuple)) else [logits]
            self._add_rows(datasets, pieces, labels)

    def _add_rows(self, datasets: Tensor, pieces: list[Tensor], labels: Tensor) -> None:
        batch_size = len(datasets)
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
        self._sums.index_add_(0, datasets.to(labels.device), per_row)


def held_out_losses(model: nn.Module, probes: Probes) -> Tensor:
    """Compute the mean loss per response token of each dataset's held-out examples.

    Args:
        model (nn.Module): the model as it is now.
        probes (Probes): the held-out examples, the same ones every time.

    Returns:
        Tensor: float64 losses in nats per response token, shape ``[N]``.
    """
    with measuring(model):
        return mean_losses(model, probes)


def held_out_mean(losses: Tensor, names: Iterable[str], objective: Mapping[str, float]) -> float:
    """Average held-out losses by the weights of the objective.

    Args:
        losses (Tensor): of every held-out set, shape ``[n]``.
        names (Iterable[str]): of the sets, in that order.
        objective (Mapping[str, float]): weights by name; a set that it does not name has none.
            Without any, all weigh the same.

    Returns:
        float: the mean, in the losses' unit.
    """
    if not objective:
        return float(losses.mean())
    weights = losses.new_tensor([objective.get(name, 0.0) for name in names])
    return float((weights * losses).sum() / weights.sum())
