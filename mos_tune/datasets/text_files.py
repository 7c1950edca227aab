# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Rows of JSON and CSV files, whose text stays the text of the file.

Libraries that make tables of such files look at the values: a column of dates becomes timestamps,
``007`` a number, ``NA`` null, and one odd row changes how the others are read. Here a row is read
alone, when it is asked for, and only its place in the file is kept.
"""

import csv
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mos_tune.errors import BadRow, UserError

BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n" + BOM
_JSON_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()

Span = tuple[int, int]


class TextRows:
    """The rows of one file, each read and parsed when it is asked for.

    Args:
        path (str): a JSON file (a row per line, an array of rows, or rows under ``field``), or one
            of comma- or tab-separated values with a header; it may be compressed by gzip.
        name (str): what messages call it.
        delimiter (str | None): what separates values. Default None: it is a JSON file.
        field (str | None): the key of a JSON file's object that holds the rows.

    Attributes:
        name (str): what messages call it.

    Raises:
        UserError: if the file cannot be opened, or as a whole is not what it should be.
    """

    def __init__(
        self, path: str, name: str, *, delimiter: str | None = None, field: str | None = None
    ) -> None:
        self.name = name
        self._path = Path(path)
        self._unpacked: bytes | None = None
        self._parse: Callable[[bytes], dict[str, Any]] = _json_row
        try:
            with open(path, "rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
            if packed:
                self._unpacked = gzip.decompress(self._path.read_bytes())
            self._stamp = self._stamp_now()
            with self._open() as file:
                if delimiter is not None:
                    header, spans = _csv_spans(file, name, delimiter)
                    self._parse = _CsvRow(header, delimiter)
                else:
                    spans = _json_spans(file, name, field)
        except (OSError, EOFError, zlib.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{name} cannot be read: {reason}") from error
        self._spans = np.array(spans, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._spans)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read a row.

        Raises:
            UserError: naming its place, if it is no row, or the file has changed.
        """
        start, stop = self._spans[index].tolist()
        if self._unpacked is None and self._stamp_now() != self._stamp:
            raise UserError(f"{self.name} has been changed since its rows were counted")
        with self._open() as file:
            file.seek(start)
            text = file.read(stop - start)
        try:
            return self._parse(text)
        except UserError as error:
            raise UserError(f"{self.place(index)} {error}") from error

    def place(self, index: int) -> str:
        """Tell where a row stands, as an editor counts lines."""
        start = int(self._spans[index][0])
        with self._open() as file:
            line = file.read(start).count(b"\n") + 1
        return f"line {line} of {self.name} (row {index + 1})"

    def _open(self) -> BinaryIO:
        return open(self._path, "rb") if self._unpacked is None else io.BytesIO(self._unpacked)

    def _stamp_now(self) -> tuple[int, int]:
        stat = self._path.stat()
        return stat.st_size, stat.st_mtime_ns


class _CsvRow:
    """Make a row of a record."""

    def __init__(self, header: list[str], delimiter: str) -> None:
        self._header, self._delimiter = header, delimiter

    def __call__(self, text: bytes) -> dict[str, Any]:
        lines = io.StringIO(text.decode(), newline="")
        values = next(csv.reader(lines, delimiter=self._delimiter, strict=True))
        if len(values) != len(self._header):
            message = f"has {len(values)} values, the header has {len(self._header)} columns"
            raise BadRow(message, "more or fewer values than columns")
        return dict(zip(self._header, values, strict=True))


def _csv_spans(file: BinaryIO, name: str, delimiter: str) -> tuple[list[str], list[Span]]:
    csv.field_size_limit(sys.maxsize)  # the module's own is 128 KiB, below a long answer
    position = _skip_bom(file)

    def lines() -> Iterator[str]:
        nonlocal position
        for line in file:
            position += len(line)
            yield line.decode()

    records = csv.reader(lines(), delimiter=delimiter, strict=True)
    header: list[str] = []
    spans = []
    try:
        while True:
            start = position
            record = next(records, None)
            if record is None:
                break
            if len(record) < 2 and not "".join(record).strip():
                continue
            if header:
                spans.append((start, position))
            else:
                header = record
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{_line_at(file, start)} of {name}: {_reason(error)}") from error
    if len(set(header)) < len(header):
        raise UserError(f"{name} has a column twice in its header: {', '.join(header)}")
    return header, spans


def _json_row(text: bytes) -> dict[str, Any]:
    try:
        row = json.loads(text.decode("utf-8-sig").rstrip("\r\n"))
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a bare ValueError
        kind = "no UTF-8" if isinstance(error, UnicodeDecodeError) else "no JSON"
        raise BadRow(_reason(error), kind) from error
    if not isinstance(row, dict):
        message = f"holds {type(row).__name__}, expected an object with the columns"
        raise BadRow(message, "no object with the columns")
    return row


def _json_spans(file: BinaryIO, name: str, field: str | None) -> list[Span]:
    start = _skip_bom(file)
    first = next((line.strip(_BLANKS) for line in file if line.strip(_BLANKS)), b"")
    file.seek(start)
    if field is None and not first.startswith(b"["):
        if first.startswith(b"{") and not first.endswith(b"}"):
            _check_lines(file.read(), name)
            file.seek(start)
        return list(_line_spans(file, start))
    # A character a byte, so that places in the text are places in the file; of JSON's own
    # characters none is part of another one in UTF-8.
    text = file.read().decode("latin-1")
    try:
        if field is None:
            spans = _array_spans(text, _skip(text, 0), whole=True)
        else:
            spans = _array_spans(text, _find(text, field, name))
        return [(start + first, start + stop) for first, stop in spans]
    except json.JSONDecodeError as error:
        raise UserError(f"line {error.lineno} of {name} {_reason(error)}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{name} {_reason(error)}") from error


def _check_lines(data: bytes, name: str) -> None:
    """Refuse an object over several lines, which may be valid JSON but is no row per line."""
    try:
        keys = ", ".join(json.loads(data))
    except (ValueError, RecursionError):
        return
    raise UserError(f"{name} is one object with the keys {keys}; name that of the rows as field")


def _line_spans(file: BinaryIO, start: int) -> Iterator[Span]:
    for line in file:
        if line.strip(_BLANKS):
            yield start, start + len(line)
        start += len(line)


def _array_spans(text: str, position: int, *, whole: bool = False) -> Iterator[Span]:
    if text[position : position + 1] != "[":
        raise json.JSONDecodeError("Expecting an array of rows", text, position)
    position = _skip(text, position + 1)
    closed = text[position : position + 1] == "]"
    while not closed:
        _, end = _DECODER.raw_decode(text, position)
        yield position, end
        position = _skip(text, end)
        closed = text[position : position + 1] == "]"
        if not closed:
            position = _skip(text, _expect(",", text, position))
    rest = _skip(text, position + 1)
    if whole and rest < len(text):
        raise json.JSONDecodeError("Extra data", text, rest)


def _find(text: str, field: str, name: str) -> int:
    """Find where the value of an object's key begins."""
    position = _skip(text, 0)
    if text[position : position + 1] != "{":
        raise UserError(f"{name} is no object, so it has no field {field}")
    keys, closed = [], False
    while not closed:
        start = _skip(text, position + 1)
        _, position = _DECODER.raw_decode(text, start)
        key = json.loads(text[start:position].encode("latin-1"))
        position = _skip(text, _expect(":", text, _skip(text, position)))
        if key == field:
            return position
        keys.append(str(key))
        position = _skip(text, _DECODER.raw_decode(text, position)[1])
        closed = text[position : position + 1] == "}"
        if not closed:
            _expect(",", text, position)
    raise UserError(f"{name} has no field {field}; it has {', '.join(keys)}")


def _skip(text: str, position: int) -> int:
    match = _JSON_BLANKS.match(text, position)
    return match.end() if match else position


def _expect(character: str, text: str, position: int) -> int:
    if text[position : position + 1] != character:
        raise json.JSONDecodeError(f"Expecting {character!r}", text, position)
    return position + 1


def _skip_bom(file: BinaryIO) -> int:
    start = len(BOM) if file.read(len(BOM)) == BOM else 0
    file.seek(start)
    return start


def _line_at(file: BinaryIO, position: int) -> str:
    file.seek(0)
    return f"line {file.read(position).count(bytes([10])) + 1}"


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        return f"is not UTF-8: byte 0x{byte:02x} at position {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"is not valid JSON: {error.msg.removesuffix(' at')} at column {error.colno}"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return str(error)
