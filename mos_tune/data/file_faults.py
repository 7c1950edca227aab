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


def fault_of_files(section: Mapping[str, Any]) -> str | None:
    """Tell the first fault of the local files that a dataset's section names.

    The libraries that load them say less: often neither the file nor the line.

    Args:
        section (Mapping[str, Any]): with ``data_files``, as in ``datasets.load_dataset``, where
            ``source`` is the kind of file.

    Returns:
        str | None: one clause that names the file, and the line if it is a JSON file; None if no
            fault is found, or the files are not on this machine.
    """
    source = section.get("source")
    if source not in ("json", "csv", "text", "parquet"):
        return None
    for file in _paths(section.get("data_files")):
        if "://" not in file and (fault := _fault(file, is_json=source == "json")):
            return fault
    return None


def _paths(data_files: Any) -> Iterator[str]:
    if isinstance(data_files, str):
        yield data_files
    elif isinstance(data_files, Mapping):
        for part in data_files.values():
            yield from _paths(part)
    elif data_files is not None:
        for part in data_files:
            yield from _paths(part)


def _fault(file: str, *, is_json: bool) -> str | None:
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
    return _json_fault(path) if is_json and path.suffix in (".json", ".jsonl") else None


def _json_fault(path: Path) -> str | None:
    with open(path, "rb") as file:
        if file.read(1) == b"[":
            return _text_fault(path.read_bytes(), str(path))
        file.seek(0)
        blank = True
        for number, line in enumerate(file, 1):
            if line.strip():
                blank = False
                if fault := _text_fault(line.rstrip(), f"line {number} of {path}", rows=(dict,)):
                    return fault
    return f"{path} holds blank lines only" if blank else None


def _text_fault(text: bytes, place: str, rows: tuple[type, ...] = (list,)) -> str | None:
    try:
        value = json.loads(text.decode("utf-8-sig"))
        # A lone surrogate is valid JSON and no text.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return f"{place} is not UTF-8: byte 0x{text[error.start]:02x} at position {error.start}"
    except UnicodeEncodeError as error:
        return f"{place} is no text: {error.reason}"
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if list in rows else ""
        reason = error.msg.removesuffix(" at")
        return f"{place} is not valid JSON: {reason} at {line}column {error.colno}"
    except RecursionError:
        return f"{place} is nested too deeply"
    if not isinstance(value, rows):
        return f"{place} holds {type(value).__name__}, expected an object with the columns"
    return None
