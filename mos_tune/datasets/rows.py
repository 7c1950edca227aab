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
from torchtune.modules.transforms.tokenizers import ModelTokenizer


class Rows(Protocol):
    """What is needed of a table: a length and rows by position."""

    def __len__(self) -> int:
        """Count the rows."""

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """Give the row at a position."""


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


def has_response(messages: list[Message], tokenizer: ModelTokenizer) -> bool:
    """Tell whether a conversation's first response starts within the tokenizer's ``max_seq_len``.

    What is left of the others when they are cut off has nothing to train on and no perplexity.

    Args:
        messages (list[Message]): a conversation with an assistant's message.
        tokenizer (ModelTokenizer): the model's tokenizer.
    """
    if tokenizer.max_seq_len is None:
        return True
    first = next(i for i, message in enumerate(messages) if message.role == "assistant")
    prompt_bytes = sum(len(message.text_content.encode()) for message in messages[:first])
    # A token holds at least a byte, so most prompts are seen to fit without tokenising them; half
    # of the length is left to the chat template.
    if prompt_bytes < tokenizer.max_seq_len // 2:
        return True
    return not all(tokenizer({"messages": messages[: first + 1]})["mask"])
