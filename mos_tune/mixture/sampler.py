# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The global order of training sequences, one step at a time."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mos_tune.errors import UserError
from mos_tune.mixture.availability import renormalized
from mos_tune.mixture.order import PassOrder
from mos_tune.mixture.prior import tempered_prior
from mos_tune.mixture.randomness import counter_based_rng
from mos_tune.mixture.units import UNITS
from mos_tune.mixture.weights import Weights, WeightSchedule


class MixtureSampler:
    """Draw the global batch of every step from N datasets.

    What is drawn is a training sequence: an example, or a pack of a dataset that is packed. What a
    step trains on is a function of the seed, the step, the probabilities and how many sequences
    each dataset has given so far: the same on every rank, for any number of ranks. Within a
    dataset, sequences come without replacement: each once per pass, in an order of its own per
    pass.

    A dataset with ``max_epochs`` gives ``max_epochs * size`` sequences and no more, also within a
    step: as soon as it has too few left for the next draw, it is unavailable and the others'
    probabilities are renormalized. Which ones are available is a function of the sequences drawn.

    Args:
        sizes (Mapping[str, int]): number of training sequences of each dataset.
        global_batch_size (int): sequences per optimizer step, over all ranks and micro-batches.
        seed (int): the run's seed.
        shuffle (bool): False keeps every dataset's own order in every pass. Default True.
        temperature (float): tau of the prior (Eq. 3). Default ``inf``, uniform, as in the paper.
        weights (Weights | None): the prior itself in the temperature's place: a number above 0 for
            each dataset, or pairs of a step and such numbers, linear in between. Default None.
        unit (str): what a probability is the expected share of: ``"sequences"``, that is of draws,
            ``"tokens"`` or ``"response_tokens"``. With the latter two, draws go by p over the
            dataset's mean length, and the temperature tempers sizes in that unit. Default
            ``"sequences"``, as in the paper.
        lengths (Mapping[str, Mapping[str, float]] | None): a sequence's mean length in each other
            unit by dataset; the recipe passes them. Default None: not known.
        draw (str): ``"example"`` draws a dataset for every sequence, ``"batch"`` one for the whole
            global batch (Alg. 1 to the letter). Default ``"example"``: in a pilot with four real
            datasets drawing per batch cost 0.024 nats of mean held-out loss at equal steps.
        max_epochs (Mapping[str, int] | None): passes over a dataset after which it is exhausted,
            for the datasets that have such a limit; the recipe passes it. Default None: no limits.

    Raises:
        UserError: if there is no dataset, one is empty, one could never be drawn, or an option is
            out of its range.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        *,
        global_batch_size: int,
        seed: int,
        shuffle: bool = True,
        temperature: float = math.inf,
        weights: Weights | None = None,
        unit: str = "sequences",
        lengths: Mapping[str, Mapping[str, float]] | None = None,
        draw: str = "example",
        max_epochs: Mapping[str, int] | None = None,
    ) -> None:
        if not sizes:
            raise UserError("dataset names no dataset; give at least one name and its builder")
        for name, size in sizes.items():
            if size < 1:
                raise UserError(f"dataset.{name} is empty; at least 1 training sequence is needed")
        if draw not in ("example", "batch"):
            raise UserError(f"sampler.draw must be 'example' or 'batch', got {draw!r}")
        if unit not in UNITS:
            raise UserError(f"sampler.unit must be one of {', '.join(UNITS)}, got {unit!r}")
        if unit != "sequences" and unit not in (lengths or {}):
            raise UserError(f"sampler.unit is {unit}, but the mean lengths in {unit} are not given")
        self.sizes = dict(sizes)
        self.names = list(sizes)
        self.unit = unit
        self.lengths = {one: dict(part) for one, part in (lengths or {}).items()}
        of_unit = self.lengths.get(unit, dict.fromkeys(sizes, 1))
        in_unit = {name: size * of_unit[name] for name, size in sizes.items()}
        self._tempered = tempered_prior(in_unit, temperature)
        self._weights = None if weights is None else WeightSchedule(self.names, weights)
        self.drawn = [0] * len(sizes)
        self.global_batch_size = global_batch_size
        self._seed = seed
        self._order = PassOrder(self.sizes, seed=seed, shuffle=shuffle)
        self._draw = draw
        self._at_once = 1 if draw == "example" else global_batch_size
        passes = max_epochs or {}
        self._limits = [passes.get(name, math.inf) * size for name, size in sizes.items()]
        for name, limit in zip(sizes, self._limits, strict=True):
            if limit < self._at_once:
                raise UserError(
                    f"dataset.{name}.max_epochs {passes[name]} allows {limit} sequences, fewer "
                    f"than the global batch of {global_batch_size} that sampler.draw=batch takes "
                    "at once"
                )
        self._temperature = float(temperature)
        self._stopped: set[str] = set()

    def draw_step(self, step: int, probabilities: Tensor) -> list[tuple[int, int]]:
        """Draw the sequences of one step and count them as drawn.

        Args:
            step (int): the optimizer step, from 1.
            probabilities (Tensor): probability of each dataset, shape ``[N]``.

        Returns:
            list[tuple[int, int]]: dataset number and index into its training sequences, for the
            whole global batch in order.

        Raises:
            ValueError: after ``max_steps``.
        """
        probabilities = self.shares(probabilities.double(), "sequences")
        rng = counter_based_rng(self._seed, "draw", step)
        uniforms = rng.random(self.global_batch_size if self._draw == "example" else 1)
        sequences: list[tuple[int, int]] = []
        cumulative: np.ndarray | None = None
        for uniform in uniforms:
            if cumulative is None:
                chances = renormalized(probabilities, self.available)
                cumulative = np.cumsum(chances.numpy())
                # Else rounding could choose a dataset of probability 0.
                cumulative /= cumulative[-1]
            dataset = int(np.searchsorted(cumulative, uniform, side="right"))
            sequences += [(dataset, self._next(dataset)) for _ in range(self._at_once)]
            if not self._is_available(dataset):
                cumulative = None
        return sequences

    def shares(self, probabilities: Tensor, unit: str) -> Tensor:
        """Give the expected shares of one unit for probabilities, which are shares of another.

        Args:
            probabilities (Tensor): shape ``[N]``.
            unit (str): one of ``lengths``, or ``"sequences"``.

        Returns:
            Tensor: shape ``[N]``; bit for bit the argument if it is in that unit already.
        """
        if unit == self.unit:
            return probabilities
        ones = dict.fromkeys(self.names, 1.0)
        here, there = (self.lengths.get(one, ones) for one in (self.unit, unit))
        factors = [there[name] / here[name] for name in self.names]
        shares = probabilities * torch.tensor(factors, dtype=probabilities.dtype)
        return shares / shares.sum() if shares.any() else shares

    def _next(self, dataset: int) -> int:
        index = self._order.index(self.names[dataset], self.drawn[dataset])
        self.drawn[dataset] += 1
        return index

    def _is_available(self, dataset: int) -> bool:
        return self.names[dataset] not in self._stopped and self._left(dataset) > 0

    def _left(self, dataset: int) -> float:
        left = self._limits[dataset] - self.drawn[dataset]
        return left if left == math.inf else left // self._at_once * self._at_once

    def stop(self, name: str, *, steps_to_come: int) -> bool:
        """Draw no more from a dataset, unless the others have too little for the rest of the run.

        Args:
            name (str): the dataset.
            steps_to_come (int): optimizer steps that are still to be made.

        Returns:
            bool: whether it is stopped by this call; no if it was already unavailable.
        """
        dataset = self.names.index(name)
        others = [i for i in self.available.nonzero().flatten().tolist() if i != dataset]
        enough = sum(map(self._left, others)) >= steps_to_come * self.global_batch_size
        if not self._is_available(dataset) or not others or not enough:
            return False
        self._stopped.add(name)
        return True

    @property
    def prior(self) -> Tensor:
        """The mixture of the next step unless it is learned, float64, shape ``[N]``."""
        if self._weights is None:
            return self._tempered
        return self._weights.at(sum(self.drawn) // self.global_batch_size + 1)

    @property
    def prior_changes(self) -> bool:
        """Whether the prior is another one from step to step."""
        return self._weights is not None and self._weights.changes

    @property
    def available(self) -> Tensor:
        """Which datasets have enough left for a draw, bool, shape ``[N]``."""
        return torch.tensor([self._is_available(dataset) for dataset in range(len(self.names))])

    @property
    def max_steps(self) -> int | None:
        """Steps, from the first, for which there are whole global batches; None: without end."""
        if math.inf in self._limits:
            return None
        draws = sum(int(limit) // self._at_once for limit in self._limits)
        return draws * self._at_once // self.global_batch_size

    @property
    def draws(self) -> dict[str, int]:
        """Sequences drawn so far from each dataset."""
        return dict(zip(self.names, self.drawn, strict=True))

    @property
    def epochs(self) -> dict[str, float]:
        """Passes so far over each dataset, the current one as a fraction."""
        return {name: count / self.sizes[name] for name, count in self.draws.items()}

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the stock train loop announces its epochs, ours are counted per dataset."""

    def state_dict(self) -> dict[str, Any]:
        """Give all that the order of sequences depends on beside step and probabilities."""
        return {
            "sizes": dict(self.sizes),
            "drawn": self.draws,
            "stopped": [name for name in self.names if name in self._stopped],
            "options": self._options(),
        }

    def _options(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self._weights is not None:
            given = {"sampler.weights": self._weights.setting()}
        return {
            "seed": self._seed,
            "global batch (batch_size * gradient_accumulation_steps * number of processes)": (
                self.global_batch_size
            ),
            "shuffle": self._order.shuffle,
            "sampler.draw": self._draw,
            "sampler.temperature": "none but sampler.weights" if given else self._temperature,
            **given,
            **({} if self.unit == "sequences" else {"sampler.unit": self.unit}),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where ``state`` of a sampler with the same datasets and options was taken.

        Raises:
            UserError: if more was drawn of a dataset than ``max_epochs`` now allows.
        """
        drawn = [int(state["drawn"][name]) for name in self.names]
        for name, count, limit in zip(self.names, drawn, self._limits, strict=True):
            if count > limit:
                raise UserError(
                    f"dataset.{name}.max_epochs allows {limit} sequences, the checkpoint was "
                    f"written after {count}"
                )
        self.drawn = drawn
        self._stopped = set(state.get("stopped", ()))  # an earlier version's has none
