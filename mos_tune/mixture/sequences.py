# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What is drawn from a dataset: one training sequence at a time."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset


class Sequences(Dataset, ABC):
    """The training sequences of one dataset, each of one or several of its examples."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the sequences."""

    @abstractmethod
    def __getitem__(self, position: int) -> dict[str, Any]:
        """Read one sequence, with ``tokens`` and ``labels``."""

    @abstractmethod
    def contents(self, position: int) -> tuple[list[int], int]:
        """Give the examples in one sequence, by their indices in the dataset, and its tokens."""


class TokenizedExamples(Sequences):
    """Examples in memory, each a sequence.

    Args:
        rows (Sequence[dict[str, Any]]): each with ``tokens``, and with ``labels``: the same tokens,
            and the ignore index in the place of prompts.
    """

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        """Count the examples."""
        return len(self._rows)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Give one example."""
        return self._rows[position]

    def contents(self, position: int) -> tuple[list[int], int]:
        """Give the example's own position, and its tokens."""
        return [position], len(self._rows[position]["tokens"])


def pad_right(
    rows: Sequence[dict[str, Any]], *, pad_id: int, ignore_index: int = -100
) -> dict[str, Tensor]:
    """Make a micro-batch of sequences of different lengths.

    Args:
        rows (Sequence[dict[str, Any]]): with ``tokens`` and ``labels``.
        pad_id (int): token in the place of none.
        ignore_index (int): label in the place of none. Default -100, cross-entropy's own.

    Returns:
        dict[str, Tensor]: ``tokens`` and ``labels``, each ``[b, s]``.
    """
    fillers = {"tokens": pad_id, "labels": ignore_index}
    return {
        key: pad_sequence(
            [torch.as_tensor(row[key]) for row in rows], batch_first=True, padding_value=filler
        )
        for key, filler in fillers.items()
    }
