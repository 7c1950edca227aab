# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import threading
from pathlib import Path

import pytest
from helpers.ranks import on_ranks

from mos_tune.checkpoint.shared import appears, check_shared
from mos_tune.errors import UserError


def test_a_file_may_come_late(tmp_path):
    path = tmp_path / "new" / "file"

    def write():
        path.parent.mkdir()
        path.touch()

    threading.Timer(0.3, write).start()
    assert appears(path, 60.0)
    assert not appears(tmp_path / "never", 0.1)


def _message(rank, world_size, folders):
    try:
        check_shared(Path(folders[rank]), None)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_one_rank_elsewhere_is_refused_on_all(tmp_path, odd):
    folders = [str(tmp_path / ("other" if rank == odd else "common")) for rank in range(3)]
    first, *others = on_ranks(3, _message, tmp_path / "ranks", folders)
    assert others == [first] * 2
    blamed = max(odd, 1)
    assert f"rank {blamed} does not see in its output_dir, {folders[blamed]} on " in first
    assert f"what rank 0 writes to {folders[0]} on " in first


def test_a_common_folder_is_left_as_it_was(tmp_path):
    assert on_ranks(2, _message, tmp_path / "ranks", [str(tmp_path / "common")] * 2) == ["", ""]
    assert not list((tmp_path / "common").iterdir())
