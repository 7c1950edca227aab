# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Which of the formats that people have a table is in, told by its columns."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import List, Value

from mos_tune.datasets.sources import Part, Table, TypedRows
from mos_tune.errors import UserError

ROWS_LOOKED_AT = 100
"""Of each file; optional columns that come later are not seen."""

_QUESTIONS = ("question", "prompt", "input", "query")
_ANSWERS = ("answer", "completion", "response", "output")
_SYSTEMS = ("system", "system_prompt")
_TURNS = ("conversations", "conversation", "messages")
_TOOLS = ("tools",)
_OPTIONAL = ("input", "system", "tools")
_LISTS = ("conversations", "messages")

FORMATS: dict[str, dict[str, tuple[str, ...]]] = {
    "question_answer": {"question": _QUESTIONS, "answer": _ANSWERS, "system": _SYSTEMS},
    "alpaca": {
        "instruction": ("instruction",),
        "input": ("input", "context"),
        "output": _ANSWERS,
        "system": _SYSTEMS,
    },
    "sharegpt": {"conversations": _TURNS, "system": _SYSTEMS, "tools": _TOOLS},
    "openai": {"messages": _TURNS, "tools": _TOOLS},
}
"""For each format its parts, and the columns that are known to hold them."""

TURN_KEYS = {"sharegpt": ("from", "value"), "openai": ("role", "content")}
"""Where a turn has its role and its text."""


@dataclass(frozen=True)
class Layout:
    """How a table is read.

    Attributes:
        format (str): one of :data:`FORMATS`.
        columns (dict[str, str]): the column of each of the format's parts that is there.
    """

    format: str
    columns: dict[str, str]

    def __str__(self) -> str:
        """Name the format and its columns."""
        return f"{self.format} ({', '.join(self.columns.values())})"


def find_layout(
    table: Table, wanted: str = "auto", column_map: Mapping[str, str] | None = None
) -> Layout:
    """Tell the format of a table by the columns of each file's first rows.

    Args:
        table (Table): the rows.
        wanted (str): one of :data:`FORMATS`, or "auto".
        column_map (Mapping[str, str] | None): columns of the format's parts by part. Default None:
            those with a known name.

    Returns:
        Layout: the format, the same for all files.

    Raises:
        UserError: naming the columns that are there, if they could be no format or several, if
            files differ, or if a declared type is not that of text.
    """
    if wanted != "auto" and wanted not in FORMATS:
        raise UserError(f"format must be auto, {', '.join(FORMATS)}, got {wanted!r}")
    formats = FORMATS if wanted == "auto" else {wanted: FORMATS[wanted]}
    parts_known = {part for parts in formats.values() for part in parts}
    for part in column_map or {}:
        if part not in parts_known:
            known = ", ".join(sorted(parts_known))
            raise UserError(f"column_map.{part} is no part of format {wanted}, which has {known}")
    first: tuple[str, Layout] | None = None
    for piece in table.slices:
        rows = _first_rows(piece.part, piece.start, piece.stop)
        layout = _layout(piece.part.name, rows, formats, dict(column_map or {}))
        if isinstance(piece.part, TypedRows):
            _check_types(piece.part, layout)
        if first is None:
            first = piece.part.name, layout
            continue
        name, before = first
        both = before.columns | layout.columns  # optional ones may be in some files only
        if layout.format != before.format or both != layout.columns | before.columns:
            raise UserError(
                f"{name} is {before} and {piece.part.name} is {layout}; files of one dataset have "
                "one format and the same columns, so make them two datasets"
            )
        first = name, Layout(layout.format, both)
    if first is None:
        raise UserError("there are no rows")
    return first[1]


def unused_columns(table: Table, layout: Layout) -> list[str]:
    """Name the columns, and the keys of turns, that hold something and are not read."""
    piece = table.slices[0]
    unused: dict[str, None] = {}
    read = {"name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal"}
    for row in _first_rows(piece.part, piece.start, piece.stop):
        for column, value in row.items():
            if column in layout.columns.values():
                for turn in value if layout.format in TURN_KEYS and _is_list(value) else ():
                    more = read.union(TURN_KEYS[layout.format])
                    for key in [key for key in turn if key not in more and turn[key] is not None]:
                        unused[f"{column}.{key}"] = None
            elif value is not None:
                unused[column] = None
    return list(unused)


def _first_rows(part: Part, start: int, stop: int) -> list[Mapping[str, Any]]:
    rows, fault = [], None
    for index in range(start, min(stop, start + ROWS_LOOKED_AT)):
        try:
            rows.append(part[index])
        except UserError as error:  # it is reported when every row is read
            fault = fault or error
    if not rows and fault is not None:
        raise fault
    return rows


def _layout(
    name: str,
    rows: list[Mapping[str, Any]],
    formats: Mapping[str, Mapping[str, tuple[str, ...]]],
    column_map: Mapping[str, str],
) -> Layout:
    columns = dict.fromkeys(itertools.chain.from_iterable(rows))
    for part, column in column_map.items():
        if column not in columns:
            there = ", ".join(columns)
            raise UserError(f"column_map.{part} is {column}, but {name} has the columns {there}")
    fits = []
    for format_name, parts in formats.items():
        if not set(column_map) <= set(parts):
            continue
        found = {
            part: [column_map[part]] if part in column_map else [c for c in known if c in columns]
            for part, known in parts.items()
        }
        if format_name in TURN_KEYS and len(formats) > 1:
            part = next(iter(parts))
            found[part] = [c for c in found[part] if _has_turns(rows, c, TURN_KEYS[format_name])]
        if all(len(c) == 1 or (not c and part in _OPTIONAL) for part, c in found.items()):
            fits.append(Layout(format_name, {part: c[0] for part, c in found.items() if c}))
    if "alpaca" in [layout.format for layout in fits]:  # its input is no question
        fits = [layout for layout in fits if layout.format != "question_answer"]
    if len(fits) == 1:
        return fits[0]
    there = ", ".join(columns) or "none"
    if fits:
        could = " or ".join(map(str, fits))
        raise UserError(f"{name} has the columns {there}, so it is {could}; say which as format")
    needs = "; ".join(f"{format_name} needs {_needs(format_name)}" for format_name in formats)
    raise UserError(f"{name} has the columns {there}, but {needs}; name them in column_map")


def _needs(format_name: str) -> str:
    parts = [
        f"one of {', '.join(names)}" if len(names) > 1 else names[0]
        for part, names in FORMATS[format_name].items()
        if part not in _OPTIONAL
    ]
    if format_name in TURN_KEYS:
        return f"{parts[0]}, a list of turns with {' and '.join(TURN_KEYS[format_name])}"
    return " and ".join(parts)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(turn, Mapping) for turn in value)


def _has_turns(rows: list[Mapping[str, Any]], column: str, keys: tuple[str, str]) -> bool:
    turns = next((row[column] for row in rows if row.get(column)), None)
    return _is_list(turns) and any(all(key in turn for key in keys) for turn in turns or ())


def _check_types(part: TypedRows, layout: Layout) -> None:
    for name, column in layout.columns.items():
        declared = part.features[column]
        if name in _LISTS:
            turn = getattr(declared, "feature", None)
            text = turn.get(TURN_KEYS[layout.format][1]) if isinstance(turn, Mapping) else None
            fits = isinstance(declared, List) and (
                not isinstance(text, Value) or text.dtype in ("string", "large_string")
            )
        else:
            fits = name == "tools" or (
                isinstance(declared, Value) and declared.dtype in ("string", "large_string")
            )
        if not fits:
            raise UserError(
                f"{part.name}: the column {column} has the type {declared}, expected text; "
                "write it as text, or give the JSON or CSV file that it was made of as data_files"
            )
