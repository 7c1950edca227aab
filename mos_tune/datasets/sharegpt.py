# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""ShareGPT, the paper's general dataset: conversations as their users shared them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import load_dataset
from torch.utils.data import Dataset
from torchtune import utils
from torchtune.data import Message
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.datasets.rows import RowsDataset, has_response
from mos_tune.errors import UserError

log = utils.get_logger("INFO")

ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
}


class BrokenConversation(ValueError):
    """A conversation that cannot be trained on; the message is the reason."""


def sharegpt_dataset(
    tokenizer: ModelTokenizer,
    *,
    source: str = "anon8231489123/ShareGPT_Vicuna_unfiltered",
    data_files: str = "ShareGPT_V3_unfiltered_cleaned_split.json",
    split: str = "train",
    **load_dataset_kwargs: Any,
) -> Dataset:
    """Load conversations of several turns, every answer of which is trained on.

    A third of the published rows are later parts of long conversations and start with an answer
    to a question that is not there; torchtune's ``chat_dataset`` stops at the first of them. Here
    such an answer is left out, as is a last question without an answer. Rows that still do not
    alternate, and rows whose first question alone fills the tokenizer's ``max_seq_len``, are
    dropped; how many and why is logged.

    Args:
        tokenizer (ModelTokenizer): the model's tokenizer.
        source (str): as in ``datasets.load_dataset``; "json" for a file of one's own.
        data_files (str): the file. A row has ``conversations``, a list of ``{"from", "value"}``.
            Default: the published repository's one of its several versions that is whole and
            cleaned.
        split (str): the split to load. Default "train", which is what a lone file is called.
        **load_dataset_kwargs (Any): more arguments of ``datasets.load_dataset``.

    Returns:
        Dataset: the usable conversations in the file's order, prompts masked.

    Raises:
        UserError: if no conversation is usable.
    """
    rows = load_dataset(source, data_files=data_files, split=split, **load_dataset_kwargs)
    usable = []
    dropped: Counter[str] = Counter()
    for index, conversation in enumerate(rows["conversations"]):
        try:
            messages = conversation_to_messages(conversation)
        except BrokenConversation as reason:
            dropped[str(reason)] += 1
            continue
        if has_response(messages, tokenizer):
            usable.append(index)
        else:
            dropped["no answer within max_seq_len"] += 1
    counts = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common())
    if not usable:
        raise UserError(
            f"dataset source {source} ({data_files}) has no usable conversation among its "
            f"{len(rows)} rows ({counts or 'no rows'})"
        )
    utils.log_rank_zero(
        log, f"{data_files}: {len(usable)} of {len(rows)} conversations; dropped: {counts or 0}"
    )
    return RowsDataset(
        rows.select(usable),
        lambda row: conversation_to_messages(row["conversations"]),
        tokenizer,
    )


def conversation_to_messages(conversation: Sequence[Mapping[str, str]]) -> list[Message]:
    """Turn a shared conversation into questions and answers that alternate.

    Args:
        conversation (Sequence[Mapping[str, str]]): turns with ``from`` and ``value``.

    Returns:
        list[Message]: at most one system message, then user and assistant in turn, an assistant
            last; only assistants are trained on.

    Raises:
        BrokenConversation: if nothing of that form can be had.
    """
    unknown = {turn["from"] for turn in conversation} - ROLES.keys()
    if unknown:
        raise BrokenConversation(f"unknown role {min(unknown)!r}")
    turns = [(ROLES[turn["from"]], turn["value"]) for turn in conversation]
    system = turns[:1] if turns and turns[0][0] == "system" else []
    turns = turns[len(system) :]
    while turns and turns[0][0] == "assistant":
        turns = turns[1:]
    if turns and turns[-1][0] == "user":
        turns = turns[:-1]
    if not turns:
        raise BrokenConversation("no question with an answer")
    if [role for role, _ in turns] != ["user", "assistant"] * (len(turns) // 2):
        raise BrokenConversation("questions and answers do not alternate")
    if not all(text.strip() for role, text in turns):
        raise BrokenConversation("a blank turn")
    return [
        Message(role=role, content=text, masked=role != "assistant")
        for role, text in system + turns
    ]
