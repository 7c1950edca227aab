# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import os

import pytest
import torch
from safetensors.torch import save_file

from mos_tune.files import let_others_read, new_folder, write_whole


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_replaces_what_was_there(tmp_path):
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "größer\n")
    assert path.read_text(encoding="utf-8") == "größer\n"
    with open(path, encoding="utf-8") as before:
        write_whole(path, (f"{line}and so on\n" for line in before))
    assert path.read_text(encoding="utf-8") == "größer\nand so on\n"
    assert names(tmp_path) == ["new", "new/a.txt"]


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def lines():
        yield "half"
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, lines())
    assert path.read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_there_as_a_whole_or_not_at_all(tmp_path):
    with pytest.raises(OSError), new_folder(tmp_path / "a" / "b") as directory:
        (directory / "half").write_text("x")
        raise OSError("disk full")
    assert list((tmp_path / "a").iterdir()) == []
    with new_folder(tmp_path / "a" / "b") as directory:
        (directory / "whole").write_text("x")
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["b", "whole"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_says_who_may_read(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "text", "a")
        save_file({"a": torch.ones(1)}, tmp_path / "weights")
        let_others_read(tmp_path / "weights")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}
    assert names(tmp_path) == ["text", "weights"]
