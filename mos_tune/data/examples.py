# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The examples of a run's datasets, and what is drawn of them."""

from dataclasses import dataclass
from typing import Any

from mos_tune.datasets.rows import place_of, raw_row
from mos_tune.errors import UserError
from mos_tune.mixture import Sequences

_LONGEST_ROW = 200


class Examples(Sequences):
    """Some examples of a dataset, each a sequence; one that cannot be read is reported by name.

    Attributes:
        key (str): the dataset's place in the config.
        dataset (Any): the dataset as it was built.
        indices (list[int]): which of its examples, in order.
        lengths (list[int]): the tokens of each.
        responses (list[int]): the response tokens of each.
    """

    def __init__(
        self,
        key: str,
        dataset: Any,
        indices: list[int],
        lengths: list[int],
        responses: list[int],
    ) -> None:
        self.key = key
        self.dataset = dataset
        self.indices = indices
        self.lengths = lengths
        self.responses = responses

    def some(self, positions: Any) -> "Examples":
        """Give the examples at these positions among them, in that order."""
        indices = [self.indices[position] for position in positions]
        lengths = [self.lengths[position] for position in positions]
        responses = [self.responses[position] for position in positions]
        return Examples(self.key, self.dataset, indices, lengths, responses)

    def contents(self, position: int) -> tuple[list[int], int]:
        """Give the index of one example, and its tokens: as a sequence, it is all there is."""
        return [self.indices[position]], self.lengths[position]

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.indices)

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Read one example.

        Raises:
            UserError: naming the dataset and the example.
        """
        index = self.indices[position]
        try:
            return self.dataset[index]
        except Exception as error:  # the user's builder and files decide what is raised
            raise UserError(cannot_be_read(self.key, self.dataset, index, error)) from error


@dataclass(frozen=True)
class MixtureData:
    """Training and held-out examples by dataset name.

    Attributes:
        train (dict[str, Examples]): training examples.
        held_out (dict[str, Examples]): the held-out examples to measure, those of the training
            datasets first; none without validation.
        fingerprints (dict[str, str | None]): of every dataset and selection, by its place in the
            config.
        max_epochs (dict[str, int]): of the datasets that may be passed over only so often.
        packed (list[str]): the datasets whose examples are to be packed.
    """

    train: dict[str, Examples]
    held_out: dict[str, Examples]
    fingerprints: dict[str, str | None]
    max_epochs: dict[str, int]
    packed: list[str]


def cannot_be_read(key: str, dataset: Any, index: int, error: Exception) -> str:
    """Say which example cannot be read, why, and what stands there if that is known."""
    what = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    message = f"{name_of(key, dataset, index, what)} cannot be read: {what}"
    try:
        row = repr(raw_row(dataset, index))
    except Exception:  # again the user's code; the message is about the first error
        return message
    return f"{message}; its row is {row if len(row) <= _LONGEST_ROW else row[:_LONGEST_ROW] + '…'}"


def name_of(key: str, dataset: Any, index: int, said: str = "") -> str:
    """Name an example, with its file and line if they are known and not ``said`` otherwise."""
    place = place_of(dataset, index)
    return f"{key}: example {index}" + ("" if place is None or place in said else f", {place},")
