# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What torchtune's own builders read of a row: it has to be text, and the text of the file.

They load rows by ``datasets``, which guesses types from values, and take what comes for text: a
turn whose content is null gets that of the turn before it, a date its ISO form with a time.
"""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import datasets
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import Subset
from torchtune.config._utils import _get_component_from_path
from torchtune.data import (
    AlpacaToMessages,
    InputOutputToMessages,
    OpenAIToMessages,
    ShareGPTToMessages,
)
from torchtune.datasets import SFTDataset, TextCompletionDataset

from mos_tune.datasets.formats import TURN_KEYS
from mos_tune.datasets.rows import text_in, unexpected, value_of
from mos_tune.datasets.sources import load_rows
from mos_tune.datasets.text_files import TextRows
from mos_tune.errors import BadRow, UserError

_LOADED_WITH = {"data_files", "field", "cache_dir"}
_SHAREGPT_ROLES = ("human", "gpt", "system")
_STRINGS = ("string", "large_string", "null")


class Reads(NamedTuple):
    """The columns that a builder takes for text.

    Attributes:
        prompts (tuple[str, ...]): may be blank.
        optional (str | None): may be null or missing too.
        answer (str | None): what is trained on.
        turns (str | None): a conversation.
        format (str): of the conversation, in :data:`mos_tune.datasets.formats.TURN_KEYS`.
    """

    prompts: tuple[str, ...] = ()
    optional: str | None = None
    answer: str | None = None
    turns: str | None = None
    format: str = "openai"

    def check(self, row: Mapping[str, Any]) -> bool:
        """Check that a row has text wherever it is read.

        Returns:
            bool: whether an answer is blank.

        Raises:
            BadRow: naming the column.
        """
        answers = []
        for column in self.prompts:
            text_in(value_of(row, column), column)
        if self.optional is not None and row.get(self.optional) is not None:
            text_in(row[self.optional], self.optional)
        if self.answer is not None:
            answers.append(text_in(value_of(row, self.answer), self.answer))
        if self.turns is not None:
            turns = value_of(row, self.turns)
            if not isinstance(turns, list):
                raise unexpected(self.turns, turns, "a list of turns")
            for number, turn in enumerate(turns, 1):
                role, text = self._turn(turn, f"turn {number} of {self.turns}")
                if role in ("assistant", "gpt"):
                    answers.append(text)
        return any(not answer.strip() for answer in answers)

    def _turn(self, turn: Any, place: str) -> tuple[str, str]:
        role_key, text_key = TURN_KEYS[self.format]
        if not isinstance(turn, Mapping):
            raise unexpected(place, turn, f"{role_key} and {text_key}")
        role = turn.get(role_key)
        if not isinstance(role, str):
            raise unexpected(f"{role_key} of {place}", role, "a role")
        if self.format == "sharegpt" and role not in _SHAREGPT_ROLES:
            roles = ", ".join(_SHAREGPT_ROLES)
            message = f"{role_key} of {place} is {role!r:.60}, expected one of {roles}"
            raise BadRow(message, f"unknown role {role!r:.60}")
        content, place = turn.get(text_key), f"{text_key} of {place}"
        if self.format == "openai" and isinstance(content, list):
            content = "".join(_part_text(part, place) for part in content) if content else None
        return role, text_in(content, place)


def _part_text(part: Any, place: str) -> str:
    if not isinstance(part, Mapping):
        raise unexpected(f"a part of {place}", part, "type and text")
    if part.get("type") != "text":  # torchtune passes over those that it does not know
        message = f"{place} has a part of the type {part.get('type')!r:.60}, expected 'text'"
        raise BadRow(message, "a content part without text")
    return text_in(part.get("text"), f"a part's text in {place}")


def reads_of(dataset: Any) -> Reads | None:
    """Tell what a dataset reads of a row; None if it is not made as torchtune's builders do it."""
    dataset = _whole(dataset)
    if isinstance(dataset, TextCompletionDataset):
        return Reads((dataset._column,))
    if not isinstance(dataset, SFTDataset):
        return None
    transform: Any = dataset._message_transform
    # A subclass with a reading of its own may take numbers.
    call = getattr(type(transform), "__call__", None)  # noqa: B004
    if call is InputOutputToMessages.__call__:
        columns: dict[str, str] = transform.column_map
        return Reads((columns["input"],), answer=columns["output"])
    if call is AlpacaToMessages.__call__:
        columns = {key: key for key in ("instruction", "input", "output")}
        columns |= transform.column_map or {}
        return Reads((columns["instruction"],), columns["input"], columns["output"])
    if call is ShareGPTToMessages.__call__:
        return Reads(turns=transform._column_map["conversations"], format="sharegpt")
    if call is OpenAIToMessages.__call__:
        return Reads(turns=transform._column_map["messages"])
    return None


def read_as_text(dataset: Any, section: DictConfig) -> None:
    """Let a dataset of torchtune's read its files' text; refuse a type that was guessed.

    Args:
        dataset (Any): as it was built; JSON and CSV files on this machine take the place of the
            table that ``datasets`` made of them. Any other dataset stays as it is.
        section (DictConfig): the dataset's section of the config.

    Raises:
        UserError: naming a column that is read for text and has another type.
    """
    reads, dataset = reads_of(dataset), _whole(dataset)
    if reads is None or not isinstance(dataset._data, datasets.Dataset):
        return
    rows = _rows_of_files(section)
    if rows is not None and len(rows) == len(dataset._data):
        dataset._data = rows
        return
    columns = [*reads.prompts, reads.optional, reads.answer, reads.turns]
    for column in columns:
        declared = dataset._data.features.get(column) if column is not None else None
        turn = getattr(declared, "feature", None)
        if isinstance(turn, Mapping):
            declared = turn.get(TURN_KEYS[reads.format][1])
        if isinstance(declared, datasets.Value) and declared.dtype in _STRINGS:
            continue
        if isinstance(declared, datasets.Value | datasets.Json):
            raise UserError(
                f"the column {column} has the type {declared}, told by its values, where text is "
                f"expected; row 1 has {dataset._data[0][column]!r:.60}; write it as text, or use "
                "mos_tune.datasets.instruction_dataset, which reads the text of files"
            )


def _rows_of_files(section: DictConfig) -> Any:
    options: Any = OmegaConf.to_container(section, resolve=True)
    component = _get_component_from_path(options.pop("_component_"))
    if "builder" in options:  # of sampled_dataset
        component = _get_component_from_path(options.pop("builder"))
        del options["fraction"]
        options.pop("seed", None)
    if not str(getattr(component, "__module__", "")).startswith("torchtune.datasets."):
        return None
    given = set(options) - set(inspect.signature(component).parameters)
    source, files = options.get("source"), options.get("data_files")
    if source not in ("json", "csv") or "://" in str(files) or given - _LOADED_WITH:
        return None
    try:
        rows = load_rows(source, files, options.get("split", "train"), field=options.get("field"))
    except UserError:
        return None
    return rows if all(isinstance(piece.part, TextRows) for piece in rows.slices) else None


def _whole(dataset: Any) -> Any:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset
