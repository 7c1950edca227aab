# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import os
import tempfile
from pathlib import Path

import pytest

from mos_tune.data.file_faults import fault_of_files

NOBODY = 65534


def test_whole_files_have_no_fault(tmp_path):
    (tmp_path / "lines.jsonl").write_text('{"a": "ä"}\n\n{"a": 1}')
    (tmp_path / "array.json").write_text(json.dumps([{"a": "ä"}], indent=1))
    (tmp_path / "table.csv").write_text("a\n1\n")
    files = [str(path) for path in tmp_path.glob("*.json*")]
    assert fault_of_files({"source": "json", "data_files": files}) is None
    assert fault_of_files({"source": "csv", "data_files": f"{tmp_path}/*.csv"}) is None


def test_the_first_damaged_one_of_several_files_is_named(tmp_path):
    whole, bad = tmp_path / "whole.jsonl", tmp_path / "bad.jsonl"
    whole.write_text("{}\n")
    bad.write_text('{}\n{"a":')
    section = {"source": "json", "data_files": {"train": [str(whole), str(bad)]}}
    fault = f"line 2 of {bad} (row 2) is not valid JSON: Expecting value at column 6"
    assert fault_of_files(section) == fault


@pytest.mark.parametrize(
    "section",
    [
        {"source": "someone/data", "data_files": "gone.jsonl"},
        {"source": "json", "data_files": "https://example.com/gone.jsonl"},
        {"source": "json"},
        {"skill": "copy"},
    ],
)
def test_what_is_not_on_this_machine_is_not_judged(section):
    assert fault_of_files(section) is None


def test_a_file_that_may_not_be_read_is_named():
    # pytest's own folder is closed to the user that root becomes here.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "rows.jsonl"
        path.write_text("{}\n")
        path.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(NOBODY)
        try:
            fault = fault_of_files({"source": "json", "data_files": str(path)})
        finally:
            os.seteuid(user)
    assert fault == f"{path} cannot be opened: Permission denied"
