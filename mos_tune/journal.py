# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A file of JSON lines that a killed run leaves whole."""

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from mos_tune.errors import UserError


class Journal:
    """Append JSON objects to a file, on the disk before ``append`` or ``extend`` returns.

    A line that a killed run began is dropped on opening; all before it is kept. One process at a
    time may write, so that two runs never pay for the same work.

    Args:
        path (Path): the file; it and its directory are made if they are missing.

    Attributes:
        records (list[dict[str, Any]]): all objects in the file, in order; grows with the file.

    Raises:
        UserError: if another process writes the file, or a line is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._lock = Lock()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(f"{path} is being written by another run; wait for its end") from None
        try:
            self.records = self._read()
        except BaseException:
            self._file.close()
            raise

    def append(self, record: dict[str, Any]) -> None:
        """Write one object and wait until the disk has it; may be called from any thread."""
        self.extend([record])

    def extend(self, records: Iterable[dict[str, Any]]) -> None:
        """Write several objects as :meth:`append` does one, and wait for the disk once."""
        new = list(records)
        lines = b"".join(json.dumps(record).encode() + b"\n" for record in new)
        with self._lock:
            self._file.write(lines)
            self._file.flush()
            os.fsync(self._file.fileno())
            self.records += new

    def close(self) -> None:
        """Close the file, so that another run may write it."""
        self._file.close()

    def __enter__(self) -> "Journal":
        """Give the journal itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def _read(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        *lines, rest = self._file.read().split(b"\n")
        records = [_parse(line, self.path, i) for i, line in enumerate(lines, 1) if line.strip()]
        if rest:
            try:
                # An editor may have taken the last line break; such a line is whole.
                records.append(_parse(rest, self.path, len(lines) + 1))
                self._file.write(b"\n")
            except UserError:
                self._file.truncate(sum(len(line) + 1 for line in lines))
            self._file.flush()
        return records


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise UserError(f"line {number} of {path} is no JSON object: {line[:60]!r}")
    return record
