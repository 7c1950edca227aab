# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Work that rank 0 hands out and all ranks do."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from mos_tune.distributed import get_world_size_and_rank

# Rank 0 alone downloads and prepares the questions while the others wait for work.
_PATIENCE = timedelta(days=7)

Function = Callable[..., list[Any]]


class Ranks:
    """Split batches over the ranks; only rank 0 knows what is evaluated.

    A batch's content does not depend on how many ranks there are, nor does what is made of it.
    The model is on every rank as a whole, so a batch is computed by one rank alone.

    Args:
        functions (dict[str, Function]): what can be done with a batch, by name, the same on all
            ranks. A function gives as many results as the batch has elements.
    """

    def __init__(self, functions: dict[str, Function]) -> None:
        self._functions = functions
        self.world_size, self.rank = get_world_size_and_rank()
        # Gloo on GPUs too: only Python objects are sent. A process group of our own has a timeout
        # of our own.
        self._group = dist.new_group(backend="gloo", timeout=_PATIENCE) if self._many else None

    @property
    def _many(self) -> bool:
        return self.world_size > 1

    def run(
        self,
        name: str,
        batches: Sequence[Sequence[Any]],
        *,
        on_progress: Callable[[int], Any] = lambda count: None,
        **options: Any,
    ) -> list[list[Any]]:
        """Compute batches on all ranks; called by rank 0 while the others are in :meth:`serve`.

        Args:
            name (str): of the function.
            batches (Sequence[Sequence[Any]]): rank ``r`` takes ``batches[r::world_size]``.
            on_progress (Callable[[int], Any]): called with a number of elements that are done,
                others' in the same proportion as rank 0's.
            **options (Any): passed on to the function.

        Returns:
            list[list[Any]]: the results of every batch.
        """
        n = self.world_size
        mine: list[Any] = [None]
        if self._many:
            jobs = [(name, batches[rank::n], options) for rank in range(n)]
            dist.scatter_object_list(mine, jobs, src=0, group=self._group)
        done = []
        for index in range(0, len(batches), n):
            done.append(self._functions[name](batches[index], **options))
            on_progress(sum(map(len, batches[index : index + n])))
        if not self._many:
            return done
        everyone: list[Any] = [None] * n
        dist.gather_object(done, everyone, dst=0, group=self._group)
        return [everyone[index % n][index // n] for index in range(len(batches))]

    def serve(self) -> None:
        """Do what rank 0 hands out, until it calls :meth:`release`."""
        while True:
            job: list[Any] = [None]
            dist.scatter_object_list(job, None, src=0, group=self._group)
            if job[0] is None:
                return
            name, batches, options = job[0]
            done = [self._functions[name](batch, **options) for batch in batches]
            dist.gather_object(done, None, dst=0, group=self._group)

    def release(self) -> None:
        """Let the other ranks return from :meth:`serve`."""
        if self._many:
            dist.scatter_object_list([None], [None] * self.world_size, src=0, group=self._group)


def in_batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """Cut a sequence into pieces of ``size``, the last of which may be shorter."""
    return (items[first : first + size] for first in range(0, len(items), size))
