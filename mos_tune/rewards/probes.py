# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Examples of every dataset, measured in micro-batches that are split over the ranks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import Dataset
from tqdm import tqdm

from mos_tune.errors import UserError


@dataclass(frozen=True)
class ProbeBatch:
    """A micro-batch of examples, perhaps of several datasets.

    Attributes:
        tokens (Tensor): token ids, padded on the right, shape ``[b, s]``.
        labels (Tensor): tokens of the response, the ignore index elsewhere, shape ``[b, s]``.
        lengths (Tensor): tokens of each example, padding not counted, shape ``[b]``.
        positions (list[tuple[int, int]]): dataset number and index into its examples.
    """

    tokens: Tensor
    labels: Tensor
    lengths: Tensor
    positions: list[tuple[int, int]]


@dataclass(frozen=True)
class Progress:
    """Where a run stands at a scorer update.

    Attributes:
        step (int): optimizer steps made.
        probabilities (Tensor): the mixture that the update may change, float64, shape ``[N]``.
        draws (Mapping[str, int]): sequences drawn of each dataset so far.
        tokens (Mapping[str, int]): tokens in them, prompts too.
        optimizer (Optimizer | None): the model's, for its learning rate and its second moments.
            Default None: the trainer has not given it.
    """

    step: int
    probabilities: Tensor
    draws: Mapping[str, int]
    tokens: Mapping[str, int]
    optimizer: Optimizer | None = None

    @property
    def lr(self) -> float:
        """The learning rate as the optimizer's first group has it now: that of the next step.

        Raises:
            UserError: if the trainer has not given the optimizer.
        """
        if self.optimizer is None:
            raise UserError(
                "reward: the learning rate is not known; give the optimizer to MixtureController"
            )
        return float(self.optimizer.param_groups[0]["lr"])


@dataclass(frozen=True)
class Probes:
    """The examples to measure, the same on every rank.

    Whole micro-batches are dealt out to ranks, so what is computed does not depend on the number of
    ranks; sums are taken in float64. Every rank makes the same number of forward passes, as FSDP2
    needs, and gets the same result.

    Attributes:
        datasets (Mapping[str, Dataset]): the datasets by name.
        indices (Mapping[str, Sequence[int]]): which examples of each.
        collate (Callable[[list[Any]], dict[str, Tensor]]): gives ``tokens`` and ``labels``.
        batch_size (int): examples per forward pass.
        device (torch.device): where the model is.
        rank (int): this process among the data-parallel ones.
        world_size (int): number of data-parallel processes.
        held_out (Probes | None): held-out examples of every dataset, and after them of sets that
            are only measured, for a reward that asks for them with ``needs_held_out`` or
            ``uses_held_out``.
        objective (Mapping[str, float]): weights of held-out sets by name. Default: none, and all
            weigh the same.
        seed (int): for a reward's own randomness, different at every update.
        progress (Progress | None): where the run stands. Default None: its trainer does not tell.
    """

    datasets: Mapping[str, Dataset]
    indices: Mapping[str, Sequence[int]]
    collate: Callable[[list[Any]], dict[str, Tensor]]
    batch_size: int
    device: torch.device
    rank: int = 0
    world_size: int = 1
    held_out: "Probes | None" = None
    objective: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    progress: Progress | None = None

    @property
    def names(self) -> list[str]:
        """The datasets' names."""
        return list(self.datasets)

    @property
    def positions(self) -> list[tuple[int, int]]:
        """Dataset number and index of every example, dataset by dataset."""
        return [
            (number, int(index))
            for number, name in enumerate(self.names)
            for index in self.indices[name]
        ]

    def only(self, *names: str) -> "Probes":
        """Give the probes of some datasets, numbered from 0 in this order."""
        return replace(
            self,
            datasets={name: self.datasets[name] for name in names},
            indices={name: self.indices[name] for name in names},
        )

    def batches(self, progress: str | None = None) -> Iterator[tuple[ProbeBatch, bool]]:
        """Deal this rank its micro-batches, as many as every other rank.

        Args:
            progress (str | None): title of a progress bar. Default None: no bar.

        Yields:
            tuple[ProbeBatch, bool]: a micro-batch, and whether it counts. A rank without work in
                the last round still has to join the others' passes, and gets one that does not.
        """
        positions = self.positions
        starts = list(range(0, len(positions), self.batch_size))
        rounds = -(-len(starts) // self.world_size)
        for turn in tqdm(
            range(rounds), desc=progress, disable=progress is None or self.rank > 0, leave=False
        ):
            mine = turn * self.world_size + self.rank
            counts = mine < len(starts)
            start = starts[mine] if counts else 0
            yield self._batch(positions[start : start + self.batch_size]), counts

    def sum(self, fn: Callable[[ProbeBatch], Tensor]) -> Tensor:
        """Sum ``fn`` over each dataset's examples.

        Args:
            fn (Callable[[ProbeBatch], Tensor]): gives one row per example, shape ``[b, k]``.

        Returns:
            Tensor: float64 sums on the CPU, shape ``[N, k]``.
        """
        slots = {position: position[0] for position in self.positions}
        return self._sum_into(fn, slots, len(self.names))

    def mean(self, fn: Callable[[ProbeBatch], Tensor]) -> Tensor:
        """Average ``fn`` over each dataset's examples; arguments and shape as in :meth:`sum`."""
        counts = [len(self.indices[name]) for name in self.names]
        return self.sum(fn) / torch.tensor(counts, dtype=torch.float64)[:, None]

    def each(self, fn: Callable[[ProbeBatch], Tensor], progress: str | None = None) -> Tensor:
        """Evaluate ``fn`` on every example, with a progress bar if that is given a title.

        Returns:
            Tensor: float64 rows on the CPU in the order of :attr:`positions`, shape ``[E, k]``.
        """
        slots = {position: place for place, position in enumerate(self.positions)}
        return self._sum_into(fn, slots, len(slots), progress)

    def _sum_into(
        self,
        fn: Callable[[ProbeBatch], Tensor],
        slots: Mapping[tuple[int, int], int],
        num_slots: int,
        progress: str | None = None,
    ) -> Tensor:
        sums: Tensor | None = None
        for batch, counts in self.batches(progress):
            values = fn(batch).double()
            if sums is None:
                sums = values.new_zeros(num_slots, values.shape[1])
            if counts:
                chosen = [slots[position] for position in batch.positions]
                sums.index_add_(0, torch.tensor(chosen, device=values.device), values)
        assert sums is not None
        if self.world_size > 1:
            dist.all_reduce(sums)
        return sums.cpu()

    def _batch(self, positions: list[tuple[int, int]]) -> ProbeBatch:
        parts = list(self.datasets.values())
        rows: list[Any] = [parts[dataset][index] for dataset, index in positions]
        batch = self.collate(rows)
        return ProbeBatch(
            tokens=batch["tokens"].to(self.device),
            labels=batch["labels"].to(self.device),
            lengths=torch.tensor([len(row["tokens"]) for row in rows], device=self.device),
            positions=positions,
        )
