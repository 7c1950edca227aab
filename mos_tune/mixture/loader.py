# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The loader that the stock train loop iterates over."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.utils.data import Dataset

from mos_tune.distributed import get_world_size_and_rank
from mos_tune.errors import UserError
from mos_tune.mixture.sampler import MixtureSampler


class StepListener(Protocol):
    """What the loader asks and tells, on every rank alike."""

    def probabilities(self) -> Tensor:
        """Give the current mixture, shape ``[N]``; asked for at every step."""

    def on_step_start(self, step: int) -> None:
        """Do what belongs before the first forward pass of a step."""

    def on_draw(self, step: int, sequences: list[tuple[int, int]]) -> None:
        """Learn a step's global batch: dataset number and index of every sequence, in order."""

    def on_batch(self, datasets: list[int], batch: dict[str, Tensor]) -> None:
        """Learn the dataset numbers of a micro-batch's rows, just before it is yielded."""

    def on_step_end(self, step: int) -> None:
        """Do what belongs between two steps; may run collectives and change the probabilities."""

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint must hold."""


class MixtureLoader:
    """Yield this rank's micro-batches, and call the listener between two steps.

    A train loop that asks for the first micro-batch of step t has completed step t - 1: the
    optimizer has stepped and the gradients are gone. That is when ``on_step_end(t - 1)`` is called.
    The last step of an epoch ends when the loop asks for one micro-batch more. A trainer that does
    not exhaust the loader, or saves before it asks for more, calls :meth:`finish` after its
    optimizer's step.

    Args:
        datasets (Sequence[Dataset]): training sequences, in the order of ``sampler.names``.
        sampler (MixtureSampler): draws the global batch.
        listener (StepListener): see there.
        collate (Callable[[list[Any]], dict[str, Tensor]]): makes a micro-batch of sequences.
        batch_size (int): sequences per rank and micro-batch.
        total_steps (int): optimizer steps of all epochs; the last epoch may be shorter.
        accumulation_steps (int): micro-batches per optimizer step. Default 1.
        steps_per_epoch (int | None): optimizer steps until the iterator ends. Default None: all,
            for mixtures have no epochs but those that a trainer wants.
        step (int): optimizer steps already made. Default 0.
        epoch (int): epochs already ended. Default 0. With steps made beyond it, the first iterator
            yields what is left of the epoch, which may be nothing.
        rank (int | None): this process among the data-parallel ones. Default None: among all.
        world_size (int | None): number of data-parallel processes. Default None: of all.

    Raises:
        UserError: if the sampler draws more or fewer sequences than a step takes.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        sampler: MixtureSampler,
        listener: StepListener,
        *,
        collate: Callable[[list[Any]], dict[str, Tensor]],
        batch_size: int,
        total_steps: int,
        accumulation_steps: int = 1,
        steps_per_epoch: int | None = None,
        step: int = 0,
        epoch: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        everyone, this_one = get_world_size_and_rank()
        self._world_size = everyone if world_size is None else world_size
        self._rank = this_one if rank is None else rank
        taken = batch_size * accumulation_steps * self._world_size
        if taken != sampler.global_batch_size:
            raise UserError(
                f"the sampler's global batch is {sampler.global_batch_size}, but a step takes "
                f"{taken}: batch_size {batch_size} * accumulation_steps {accumulation_steps} * "
                f"{self._world_size} processes"
            )
        self.sampler = sampler
        self.step = step
        self._epoch = epoch
        self._datasets = datasets
        self._listener = listener
        self._collate = collate
        self._batch_size = batch_size
        self._accumulation_steps = accumulation_steps
        self._steps_per_epoch = total_steps if steps_per_epoch is None else steps_per_epoch
        self._total_steps = total_steps
        self._is_under_way = False

    def __len__(self) -> int:
        """Count this rank's micro-batches per epoch, one that is not cut short."""
        return self._steps_per_epoch * self._accumulation_steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield one epoch's micro-batches of this rank, after a resume those that are left."""
        self._epoch += 1
        while self.step < min(self._epoch * self._steps_per_epoch, self._total_steps):
            step = self.step + 1
            sequences = self.sampler.draw_step(step, self._listener.probabilities())
            self._listener.on_step_start(step)
            self._listener.on_draw(step, sequences)
            # Rank r takes every world_size-th one, as torchtune's own distributed sampler does.
            mine = sequences[self._rank :: self._world_size]
            for start in range(0, len(mine), self._batch_size):
                chosen = mine[start : start + self._batch_size]
                batch = self._collate([self._datasets[number][index] for number, index in chosen])
                self._listener.on_batch([dataset for dataset, _ in chosen], batch)
                # Set before it is yielded: until the loop asks for more, this code stands still.
                self._is_under_way = start + self._batch_size >= len(mine)
                yield batch
            self.finish()

    def finish(self) -> None:
        """End the step whose last micro-batch has been yielded, if that has not happened yet."""
        if self._is_under_way:
            self._is_under_way = False
            self.step += 1
            self._listener.on_step_end(self.step)

    def state_dict(self) -> dict[str, Any]:
        """Give the listener's state: the stock recipes save what their loader gives."""
        return self._listener.state_dict()
