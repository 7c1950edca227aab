# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The append-only file."""

from pathlib import Path

import pytest

from mos_tune.errors import UserError
from mos_tune.journal import Journal


def test_a_killed_run_loses_its_last_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    records = [{"n": 1, "text": "a\nb"}, {"n": 2, "text": "\u00e9 \ud83d"}]
    with Journal(path) as journal:
        for record in records:
            journal.append(record)
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        lines = whole[:cut].split(b"\n")
        with Journal(path) as journal:
            kept = len(lines) - 1 + lines[-1].endswith(b"}")
            assert journal.records == records[:kept], cut
            journal.append({"n": 3})
        with Journal(path) as journal:
            assert journal.records == [*records[:kept], {"n": 3}]


def test_a_broken_line_in_the_middle_is_not_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(UserError, match="line 2 of .*journal.jsonl"):
        Journal(path)
    path.write_text("[1]\n")
    with pytest.raises(UserError, match="line 1"):
        Journal(path)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path):
        with pytest.raises(UserError, match="another run"):
            Journal(path)
    with Journal(path) as journal:
        assert journal.records == []
