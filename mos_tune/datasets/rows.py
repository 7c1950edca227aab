# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Rows of any table as torchtune's tokenised examples."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch.utils.data import Dataset, Subset
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX, Message
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.errors import BadRow, UnusableExample, UserError


class Rows(Protocol):
    """What is needed of a table: a length and rows by position."""

    def __len__(self) -> int:
        """Count the rows."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """Give the row at a position."""


class RowsDataset(Dataset):
    """Tokenise rows when they are asked for.

    It gives what ``torchtune.datasets.SFTDataset`` gives, from rows that are at hand already
    instead of a path to load. A row that ``to_messages`` calls unusable raises when it is asked
    for; mos-tune's recipes leave it out and count it.

    Args:
        rows (Rows): for example a ``datasets.Dataset``.
        to_messages (Callable[[Mapping[str, Any]], Any]): turns a row into a list of messages, or
            raises ``mos_tune.errors.UnusableExample`` with the reason.
        tokenizer (ModelTokenizer): turns a conversation into tokens and a mask.
    """

    def __init__(
        self,
        rows: Rows,
        to_messages: Callable[[Mapping[str, Any]], Any],
        tokenizer: ModelTokenizer,
    ) -> None:
        self._data = rows
        self._to_messages = to_messages
        self._tokenizer = tokenizer

    def __len__(self) -> int:
        """Count the examples."""
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Tokenise one example; its ``labels`` hide the prompt from the loss.

        Raises:
            UserError: naming the file and the line, if the rows know them.
        """
        row = self._data[index]
        try:
            example = self._tokenize(row)
        except UserError as error:
            if not hasattr(self._data, "place"):
                raise
            raise UserError(f"{self._data.place(index)}: {error}") from error
        example["labels"] = [
            CROSS_ENTROPY_IGNORE_IDX if masked else token
            for token, masked in zip(example["tokens"], example["mask"], strict=True)
        ]
        return example

    def _tokenize(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return self._tokenizer({"messages": self._to_messages(row)})


def raw_row(dataset: Any, index: int) -> Any:
    """Give an example as it was loaded, where torchtune's datasets and ours keep it.

    Raises:
        AttributeError: if the dataset keeps no such rows.
    """
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, dataset.indices[index]
    return dataset._data[index]


def place_of(dataset: Any, index: int) -> str | None:
    """Tell in which file an example stands, and where there; None if that is not known."""
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, dataset.indices[index]
    rows: Any = getattr(dataset, "_data", None)
    return str(rows.place(index)) if hasattr(rows, "place") else None


def json_row(dataset: Any, index: int) -> Any:
    """Give :func:`raw_row` as it comes back from a JSON file.

    Returns:
        Any: None if the dataset keeps no rows, or JSON cannot hold this one.
    """
    try:
        return json.loads(json.dumps(raw_row(dataset, index)))
    except (AttributeError, TypeError):
        return None


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """Give what a row has in a column.

    Raises:
        BadRow: if there is no such column.
    """
    if column not in row:
        there = ", ".join(row) or "none"
        raise BadRow(f"there is no column {column}, but {there}", f"no column {column}")
    return row[column]


def text_of(row: Mapping[str, Any], column: str) -> str:
    """Give a row's text without blanks around it; null is empty.

    Raises:
        BadRow: if it is something else than text.
    """
    value = value_of(row, column)
    return "" if value is None else text_in(value, column).strip()


def text_in(value: Any, place: str) -> str:
    """Give a value that is to be text as it is.

    Args:
        value (Any): from a row.
        place (str): where it stands there, for messages.

    Raises:
        BadRow: if it is no text, or half a character of UTF-16, which JSON can hold.
    """
    if not isinstance(value, str):
        raise unexpected(place, value, "text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{place} is no text: {error.reason}"
        raise BadRow(message, "half a character") from error
    return value


def unexpected(place: str, value: Any, wanted: str) -> BadRow:
    """Make the error that something else stands where ``wanted`` is expected."""
    message = f"{place} is {value!r:.60}, expected {wanted}"
    return BadRow(message, f"{_kind(value)} where {wanted} is expected")


def _kind(value: Any) -> str:
    """Name what JSON and CSV files can hold as they do."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return f"a {type(value).__name__}"


def prompt_and_response(prompt: str, response: str) -> list[Message]:
    """Make a conversation of one turn, of which only the response is trained on.

    Raises:
        UnusableExample: if one of them is blank.
    """
    if not prompt.strip():
        raise UnusableExample("a blank prompt")
    if not response.strip():
        raise UnusableExample("a blank answer")
    return [
        Message(role="user", content=prompt, masked=True),
        Message(role="assistant", content=response),
    ]
