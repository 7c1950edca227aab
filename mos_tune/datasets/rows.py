# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Rows of any table as torchtune's tokenised examples."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch.utils.data import Dataset
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX, Message
from torchtune.datasets import PackedDataset
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.errors import UserError


class Rows(Protocol):
    """What is needed of a table: a length and rows by position."""

    def __len__(self) -> int: ...  # noqa: D105

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...  # noqa: D105


class RowsDataset(Dataset):
    """Tokenise rows when they are asked for.

    It gives what ``torchtune.datasets.SFTDataset`` gives, from rows that are at hand already
    instead of a path to load.

    Args:
        rows (Rows): for example a ``datasets.Dataset``.
        to_messages (Callable[[Mapping[str, Any]], list[Message]]): turns a row into a conversation.
        tokenizer (ModelTokenizer): turns a conversation into tokens and a mask.
    """

    def __init__(
        self,
        rows: Rows,
        to_messages: Callable[[Mapping[str, Any]], list[Message]],
        tokenizer: ModelTokenizer,
    ) -> None:
        self._rows = rows
        self._to_messages = to_messages
        self._tokenizer = tokenizer

    def __len__(self) -> int:
        """Count the examples."""
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Tokenise one example; its ``labels`` hide the prompt from the loss."""
        example = self._tokenizer({"messages": self._to_messages(self._rows[index])})
        example["labels"] = [
            CROSS_ENTROPY_IGNORE_IDX if masked else token
            for token, masked in zip(example["tokens"], example["mask"], strict=True)
        ]
        return example


def prompt_and_response(prompt: str, response: str) -> list[Message]:
    """Make a conversation of one turn, of which only the response is trained on."""
    return [
        Message(role="user", content=prompt, masked=True),
        Message(role="assistant", content=response),
    ]


def maybe_pack(dataset: Dataset, tokenizer: ModelTokenizer, packed: bool) -> Dataset:
    """Pack a dataset to the tokenizer's ``max_seq_len`` if asked to.

    Raises:
        UserError: if packing is asked for and the tokenizer has no ``max_seq_len``.
    """
    if not packed:
        return dataset
    if tokenizer.max_seq_len is None:
        raise UserError("dataset.packed: True needs tokenizer.max_seq_len to be set, got null")
    return PackedDataset(dataset, max_seq_len=tokenizer.max_seq_len)
