# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import os

from mos_tune import endings
from mos_tune.endings import Ending, leave, read


def test_each_rank_has_one_ending_the_last(tmp_path, monkeypatch):
    monkeypatch.setenv(endings.FOLDER, str(tmp_path))
    for rank in ("3", "0"):
        monkeypatch.setenv("RANK", rank)
        leave(None)
        leave(1, f"reason of {rank}")
    leave(75)
    assert read(tmp_path) == [Ending(0, 75, ""), Ending(3, 1, "reason of 3")]
    assert sorted(os.listdir(tmp_path)) == ["0.json", "3.json"]


def test_without_a_launcher_of_ours_or_room_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.delenv(endings.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    leave(75)
    monkeypatch.setenv(endings.FOLDER, str(tmp_path / "gone"))
    leave(75)
    assert read(tmp_path / "gone") == [] and os.listdir() == []
