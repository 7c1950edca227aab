# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Instructions and answers in the formats that people have."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch.utils.data import Dataset
from torchtune import utils
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.datasets.conversations import Conversation, to_conversation
from mos_tune.datasets.formats import find_layout, unused_columns
from mos_tune.datasets.rows import RowsDataset
from mos_tune.datasets.sampled import check_fraction, keep_fraction
from mos_tune.datasets.sources import load_rows
from mos_tune.errors import UnusableExample, UserError
from mos_tune.tokenizers import ConversationRefused, HFChatTokenizer

log = utils.get_logger("INFO")


def instruction_dataset(
    tokenizer: ModelTokenizer,
    *,
    source: str | None = None,
    data_files: Any = None,
    split: str = "train",
    format: str = "auto",
    column_map: Mapping[str, str] | None = None,
    system_prompt: str | None = None,
    field: str | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    **load_dataset_kwargs: Any,
) -> Dataset:
    """Load questions and answers, instructions, or conversations; only answers are trained on.

    Text is read as text: a date, ``007``, ``NA`` or ``"4"`` stays what the file says. A row that
    holds something else where text should be cannot be read, which names the file, its line and the
    column. A row without an answer is unusable, as is one that the tokenizer has no way to write:
    tools, calls of them and the role ``developer`` need ``HFChatTokenizer`` and a chat template
    that writes them.

    Args:
        tokenizer (ModelTokenizer): the model's tokenizer.
        source (str | None): a repository on the hub or a folder of that form, or "json", "csv",
            "parquet" where the names of ``data_files`` do not tell. Default None.
        data_files (Any): a path, a pattern, a folder, a list of paths, or a mapping from splits to
            them: JSON (a row per line, an array, or an object with ``field``), CSV, TSV, Parquet.
        split (str): the split to load, such as "train[:1000]". Default "train", which is what files
            on their own are.
        format (str): ``question_answer`` (question or prompt, answer or response), ``alpaca``
            (instruction, input, output), ``sharegpt`` (conversations of ``from`` and ``value``),
            ``openai`` (messages of ``role`` and ``content``), or ``auto``, which tells it by the
            columns, and logs what it took the file for. Default "auto".
        column_map (Mapping[str, str] | None): columns by the format's parts, for example
            ``{question: problem, answer: solution}``. Default None: columns with a known name.
        system_prompt (str | None): the system turn of conversations that have none. Default None.
        field (str | None): the key under which a JSON file has its rows. Default None.
        fraction (float): share of the rows to draw, above 0 and at most 1. Default 1.0.
        seed (int): which rows are drawn. Default 0.
        **load_dataset_kwargs (Any): more arguments of ``datasets.load_dataset``, for a repository.

    Returns:
        Dataset: the examples in the order of the files, prompts masked.

    Raises:
        UserError: if a file is missing or damaged, or its format cannot be told.

    Example:
        >>> instruction_dataset(tokenizer, data_files="data/*.jsonl", system_prompt="Be brief.")
    """
    check_fraction(fraction)
    if system_prompt is not None and not isinstance(system_prompt, str):
        raise UserError(f"system_prompt must be text, got {system_prompt!r}")
    table = load_rows(source, data_files, split, field=field, **load_dataset_kwargs)
    layout = find_layout(table, format, column_map)
    unused = unused_columns(table, layout)
    first = table.slices[0].part.name
    more = f" and {len(table.slices) - 1} more" if len(table.slices) > 1 else ""
    not_read = f"; not read: {', '.join(unused)}" if unused else ""
    utils.log_rank_zero(log, f"{first}{more}: taken for {layout}{not_read}")
    read = partial(to_conversation, layout=layout, system_prompt=system_prompt)
    return keep_fraction(_Instructions(table, read, tokenizer), fraction, seed)


class _Instructions(RowsDataset):
    """Conversations, of which those that the tokenizer cannot write are unusable."""

    def _tokenize(self, row: Mapping[str, Any]) -> dict[str, Any]:
        conversation: Conversation = self._to_messages(row)
        sample: dict[str, Any] = {"messages": conversation.messages}
        if conversation.tools:
            sample["tools"] = conversation.tools
        try:
            if isinstance(self._tokenizer, HFChatTokenizer):
                self._tokenizer.check_written(*conversation)
            else:
                _check_plain(conversation)
            return self._tokenizer(sample)
        except ConversationRefused as error:
            raise UnusableExample(error.reason) from error


def _check_plain(conversation: Conversation) -> None:
    """Check that a conversation has nothing but what every tokenizer of torchtune can write."""
    if conversation.tools:
        raise UnusableExample("tools, which the tokenizer cannot write")
    for message in conversation.messages:
        if message.role not in ("system", "user", "assistant"):
            raise UnusableExample(f"the role {message.role}, which the tokenizer cannot write")
        if "tool_calls" in message.more:
            raise UnusableExample("a tool call, which the tokenizer cannot write")
