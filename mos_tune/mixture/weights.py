# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Mixtures that are given and not learned: fixed numbers, or numbers at some steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mos_tune.errors import UserError, check_whole, is_number

Weights = Mapping[str, float] | Sequence[tuple[int, Mapping[str, float]]]
"""A number above 0 for each dataset, or pairs of a step and such numbers."""


class WeightSchedule:
    """Give the mixture of every step: the same one, or linear between those of some steps.

    Args:
        names (Sequence[str]): the datasets.
        weights (Weights): numbers above 0 by dataset name, in any unit, since their sum is taken to
            be 1; or pairs of a step and such numbers, with rising steps. Before the first of these
            steps, and after the last, its own mixture holds.

    Raises:
        UserError: if a dataset is missing or unknown, a number not above 0, or steps do not rise.

    Example:
        >>> schedule = WeightSchedule(["a", "b"], [(0, {"a": 1, "b": 1}), (10, {"a": 3, "b": 1})])
        >>> schedule.at(5).tolist()
        [0.625, 0.375]
    """

    def __init__(self, names: Sequence[str], weights: Weights) -> None:
        if isinstance(weights, Mapping):
            weights = [(0, weights)]
        self._steps: list[int] = []
        mixtures = []
        for step, numbers in _pairs(weights):
            check_whole("a step in sampler.weights", step, 0)
            if self._steps and step <= self._steps[-1]:
                raise UserError(f"sampler.weights has step {step} after step {self._steps[-1]}")
            self._steps.append(step)
            mixtures.append(_shares(names, numbers))
        self._mixtures = np.array(mixtures)

    @property
    def changes(self) -> bool:
        """Whether there is more than one mixture."""
        return len(self._steps) > 1

    def at(self, step: int) -> Tensor:
        """Give the float64 probabilities of a step, shape ``[N]``."""
        columns = [np.interp(step, self._steps, column) for column in self._mixtures.T]
        return torch.tensor(columns, dtype=torch.float64)

    def setting(self) -> list[Any]:
        """Give what a resumed run must share: steps, and the probabilities there."""
        return [list(pair) for pair in zip(self._steps, self._mixtures.tolist(), strict=True)]


def _pairs(weights: Any) -> Sequence[tuple[Any, Any]]:
    pairs = isinstance(weights, Sequence) and not isinstance(weights, str) and len(weights) > 0
    if not pairs or not all(
        isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[1], Mapping)
        for pair in weights
    ):
        raise UserError(
            "sampler.weights must give a number above 0 for each dataset, or pairs of a step and "
            f"such numbers, got {weights!r}"
        )
    return weights


def _shares(names: Sequence[str], numbers: Mapping[str, Any]) -> np.ndarray:
    if set(numbers) != set(names):
        raise UserError(
            f"sampler.weights names {', '.join(map(str, numbers))}; it must name the datasets "
            f"{', '.join(names)}"
        )
    for name, number in numbers.items():
        if not is_number(number) or number <= 0:
            raise UserError(
                f"sampler.weights of dataset.{name} must be a number above 0, got {number!r}"
            )
    shares = np.array([float(numbers[name]) for name in names])
    return shares / shares.sum()
