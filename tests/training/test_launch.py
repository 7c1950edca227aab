# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import errno

import pytest

from mos_tune.errors import UserError
from mos_tune.training import launch


class Recipe:
    error: Exception

    def __init__(self, cfg):
        pass

    def setup(self, cfg):
        pass

    def train(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("dataset.a\nis empty"), "\nmos-tune stopped: dataset.a is empty\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "\nmos-tune stopped: the disk is full ([Errno 28] No space left on device); the "
            "checkpoints that are complete stay\n",
        ),
        (ZeroDivisionError("oh"), "\nmos-tune stopped on rank 0:\nTraceback"),
    ],
)
def test_an_error_is_said_in_a_line_if_its_cause_is_the_users(
    tmp_path, monkeypatch, capsys, error, expected
):
    (tmp_path / "config.yaml").write_text("a: 1")
    monkeypatch.setattr("sys.argv", ["recipe", "--config", str(tmp_path / "config.yaml")])
    monkeypatch.setattr(Recipe, "error", error, raising=False)
    with pytest.raises(SystemExit) as end:
        launch(Recipe)
    assert end.value.code == 1
    written = capsys.readouterr().err
    assert written == expected or written.startswith(expected) and "Traceback" in expected
