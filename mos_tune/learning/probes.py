# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The examples that a reward measures: a function of seed, dataset and update."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch.utils.data import Dataset

from mos_tune.mixture import derived_seed, probe_indices
from mos_tune.rewards import Probes, Progress, Reward


class UpdateProbes:
    """Choose the probes of every scorer update, past and to come, without state.

    Args:
        examples (Mapping[str, Dataset]): the training examples of each dataset.
        held_out (Mapping[str, Dataset]): the held-out ones, also of sets that are only measured.
        reward (Reward): says how many of each dataset, and whether held-out ones too.
        probes (Callable[..., Probes]): makes probes of datasets and indices.
        seed (int): the run's seed.
        progress (Callable[[], Progress] | None): tells where the run stands. Default None: nobody
            does.
        objective (Mapping[str, float]): weights of held-out sets. Default: all weigh the same.
    """

    def __init__(
        self,
        examples: Mapping[str, Dataset],
        held_out: Mapping[str, Dataset],
        reward: Reward,
        probes: Callable[..., Probes],
        seed: int,
        progress: Callable[[], Progress] | None = None,
        objective: Mapping[str, float] | None = None,
    ) -> None:
        self._examples = examples
        self._held_out = held_out
        self._reward = reward
        self._probes = probes
        self._seed = seed
        self._progress = progress
        self._objective = objective or {}

    def of_update(self, update: int) -> Probes:
        """Give the probes of one update, counted from 1."""
        held_out = None
        if self._reward.needs_held_out or (self._reward.uses_held_out and self._held_out):
            indices = self._indices(self._held_out, update, "validation.")
            held_out = self._probes(self._held_out, indices)
        seed = derived_seed(self._seed, "reward", update)
        indices = self._indices(self._examples, update)
        progress = None if self._progress is None else self._progress()
        return self._probes(
            self._examples,
            indices,
            held_out=held_out,
            objective=self._objective,
            seed=seed,
            progress=progress,
        )

    def of_all(self, updates: Iterable[int]) -> Probes:
        """Give the training examples of several updates, each once."""
        chosen = [self._indices(self._examples, update) for update in updates]
        indices = {
            name: sorted({index for one in chosen for index in one[name]})
            for name in self._examples
        }
        progress = None if self._progress is None else self._progress()
        return self._probes(self._examples, indices, progress=progress)

    def _indices(
        self, parts: Mapping[str, Any], update: int, prefix: str = ""
    ) -> dict[str, list[int]]:
        seed, count = self._seed, self._reward.batch_size
        return {
            name: probe_indices(
                len(examples), count, seed=seed, name=prefix + name, update=update
            ).tolist()
            for name, examples in parts.items()
        }
