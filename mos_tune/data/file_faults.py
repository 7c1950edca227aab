# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What is wrong with a data file, found out after it could not be loaded or read."""

import glob
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets.exceptions import DatasetGenerationError

from mos_tune.datasets.text_files import TextRows
from mos_tune.errors import UserError


def fault_of_files(section: Mapping[str, Any], error: Exception | None = None) -> str | None:
    """Tell the first fault of the local files that a dataset's section names.

    The libraries that load them say less: often neither the file nor the line.

    Args:
        section (Mapping[str, Any]): with ``data_files``, as in ``datasets.load_dataset``, where
            ``source`` is the kind of file.
        error (Exception | None): why the dataset cannot be built. Default None: not because of its
            rows' columns and types, which are then not compared.

    Returns:
        str | None: one clause that names the file, and the line of a row; None if no fault is
            found, or the files are not on this machine.
    """
    source = section.get("source")
    if source not in ("json", "csv", "text", "parquet"):
        return None
    files = [file for file in paths_in(section.get("data_files")) if "://" not in file]
    for file in files:
        if fault := _fault_of_path(file):
            return fault
    if source not in ("json", "csv"):
        return None
    delimiter = section.get("delimiter", section.get("sep", ",")) if source == "csv" else None
    tables = []
    for file in files:
        for path in sorted(glob.glob(file, recursive=True)):
            try:
                rows = TextRows(path, path, delimiter=delimiter, field=section.get("field"))
                if len(rows) == 0:
                    return f"{path} holds blank lines only"
                for index in range(len(rows)):
                    _check_text(rows, index)
            except UserError as fault:
                return str(fault)
            tables.append(rows)
    if not _is_about_types(error):
        return None
    return _difference(tables) or (
        f"datasets can make no table of {', '.join(files)}, though each row is whole; "
        "mos_tune.datasets.instruction_dataset reads each row alone"
    )


def paths_in(data_files: Any) -> Iterator[str]:
    """Give the paths and patterns of a section's ``data_files``, whatever its form."""
    if isinstance(data_files, str):
        yield data_files
    elif isinstance(data_files, Mapping):
        for part in data_files.values():
            yield from paths_in(part)
    elif data_files is not None:
        for part in data_files:
            yield from paths_in(part)


def _fault_of_path(file: str) -> str | None:
    if glob.has_magic(file):
        if os.path.lexists(file):
            return f"the name {file} holds one of * ? [ ], which make it a pattern; rename it"
        return None if glob.glob(file, recursive=True) else f"no file matches {file}"
    path = Path(file)
    if path.is_symlink() and not path.exists():
        return f"{file} is a symbolic link that leads nowhere"
    if not path.exists():
        return f"{file} does not exist"
    if path.is_dir():
        return f"{file} is a folder, expected a file"
    try:
        if path.stat().st_size == 0:
            return f"{file} is empty"
        with open(path, "rb") as opened:
            opened.read(1)
    except OSError as error:
        return f"{file} cannot be opened: {error.strerror}"
    return None


def _check_text(rows: TextRows, index: int) -> None:
    try:
        # A lone surrogate is valid JSON and no text.
        json.dumps(rows[index], ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{rows.place(index)} is no text: {error.reason}") from error


def _is_about_types(error: BaseException | None) -> bool:
    while error is not None:
        # pandas says the second of values that are not all of one type.
        if isinstance(error, DatasetGenerationError) or "Expected object or value" in str(error):
            return True
        error = error.__cause__
    return False


def _difference(tables: list[TextRows]) -> str | None:
    """Tell the first row whose columns, or the types of their values, are others than before."""
    first: dict[str, tuple[type, TextRows, int]] = {}
    columns = set(tables[0][0]) if tables else set()
    for rows in tables:
        if set(rows[0]) != columns:
            return (
                f"{rows.name} has the columns {', '.join(rows[0])}, but {tables[0].name} has "
                f"{', '.join(tables[0][0])}; files of one dataset have the same columns"
            )
    for rows in tables:
        for index in range(len(rows)):
            for column, value in rows[index].items():
                if value is None:
                    continue
                kind, others, other = first.setdefault(column, (type(value), rows, index))
                if type(value) is not kind:
                    # A place takes reading the file up to there, so it is told of these two alone.
                    return (
                        f"{rows.place(index)}: {column} is {value!r:.60}, but {kind.__name__} in "
                        f"{others.place(other)}; mos_tune.datasets.instruction_dataset reads each "
                        "row alone"
                    )
    return None
