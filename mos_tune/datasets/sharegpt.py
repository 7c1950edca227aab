# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""ShareGPT, the paper's general dataset: conversations as their users shared them."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset
from torchtune.data import Message
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.datasets.rows import RowsDataset, text_in, unexpected, value_of
from mos_tune.datasets.sampled import check_fraction, keep_fraction
from mos_tune.datasets.sources import load_rows
from mos_tune.errors import UnusableExample

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}


def sharegpt_dataset(
    tokenizer: ModelTokenizer,
    *,
    source: str | None = "anon8231489123/ShareGPT_Vicuna_unfiltered",
    data_files: Any = "ShareGPT_V3_unfiltered_cleaned_split.json",
    split: str = "train",
    fraction: float = 1.0,
    seed: int = 0,
    **load_dataset_kwargs: Any,
) -> Dataset:
    """Load conversations of several turns, every answer of which is trained on.

    A third of the published rows are later parts of long conversations and start with an answer
    to a question that is not there; torchtune's ``chat_dataset`` stops at the first of them. Here
    such an answer is left out, as is a last question without an answer. Rows that still do not
    alternate are unusable.

    Args:
        tokenizer (ModelTokenizer): the model's tokenizer.
        source (str | None): a repository; "json" or null for a file of one's own.
        data_files (Any): the file. A row has ``conversations``, a list of ``{"from", "value"}``.
            Default: the published repository's one of its several versions that is whole and
            cleaned.
        split (str): the split to load. Default "train", which is what a lone file is called.
        fraction (float): share of the rows to draw, above 0 and at most 1. Default 1.0; the
            paper's is 0.1.
        seed (int): which rows are drawn. Default 0.
        **load_dataset_kwargs (Any): ``field``, or more arguments of
            ``datasets.load_dataset``.

    Returns:
        Dataset: the conversations in the file's order, prompts masked.

    Raises:
        UserError: if ``fraction`` is out of range.
    """
    check_fraction(fraction)
    rows = load_rows(source, data_files, split, **load_dataset_kwargs)
    return keep_fraction(RowsDataset(rows, _to_messages, tokenizer), fraction, seed)


def _to_messages(row: Mapping[str, Any]) -> list[Message]:
    return conversation_to_messages(value_of(row, "conversations"))


def conversation_to_messages(conversation: Sequence[Mapping[str, Any]] | None) -> list[Message]:
    """Turn a shared conversation into questions and answers that alternate.

    Args:
        conversation (Sequence[Mapping[str, Any]] | None): turns with ``from`` and ``value``.

    Returns:
        list[Message]: at most one system message, then user and assistant in turn, an assistant
            last; only assistants are trained on.

    Raises:
        UnusableExample: if nothing of that form can be had.
        BadRow: if it is no list of turns, or a turn is no text.
    """
    if conversation is not None and not isinstance(conversation, list):
        raise unexpected("conversations", conversation, "a list of turns")
    turns = [_turn(turn) for turn in conversation or []]
    system = turns[:1] if turns and turns[0][0] == "system" else []
    turns = turns[len(system) :]
    while turns and turns[0][0] == "assistant":
        turns = turns[1:]
    if turns and turns[-1][0] == "user":
        turns = turns[:-1]
    if not turns:
        raise UnusableExample("no question with an answer")
    if [role for role, _ in turns] != ["user", "assistant"] * (len(turns) // 2):
        raise UnusableExample("questions and answers do not alternate")
    if not all(text.strip() for role, text in turns):
        raise UnusableExample("a blank turn")
    return [
        Message(role=role, content=text, masked=role != "assistant")
        for role, text in system + turns
    ]


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        raise unexpected("a turn", turn, "from and value")
    role, text = turn.get("from"), turn.get("value")
    if role is None or text is None:
        raise UnusableExample("a turn without from or value")
    if role not in ROLES:
        raise UnusableExample(f"unknown role {role!r}")
    return ROLES[role], text_in(text, "the value of a turn")
