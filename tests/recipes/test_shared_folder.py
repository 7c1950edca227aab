# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Nodes that do not share their ``output_dir``: here, ranks that each have one of their own."""

import pytest
from helpers.runs import config, tune


@pytest.fixture
def settings(tmp_path):
    settings = config(tmp_path) | {"max_steps_per_epoch": 4}
    return settings | {"checkpoint": {"every_n_steps": 2, "keep_last": 1}}


@pytest.mark.parametrize("resume", [False, True])
def test_step_checkpoints_are_refused_before_the_first_step(settings, tmp_path, resume):
    each = f"output_dir={tmp_path}/of_rank_${{oc.env:RANK}}"
    run = tune(settings, each, f"resume_from_checkpoint={resume}", ok=False)
    assert run.code != 0 and run.output.count("mos-tune stopped: checkpoint: rank 1 does not") == 1
    for rank in "01":
        assert f"{tmp_path}/of_rank_{rank} on " in run.output
        folder = tmp_path / f"of_rank_{rank}"
        assert not [path for path in folder.rglob("*") if path.is_file()]


def test_without_them_rank_0_alone_writes(settings, tmp_path):
    each = f"output_dir={tmp_path}/of_rank_${{oc.env:RANK}}"
    tune(settings | {"checkpoint": None}, each)
    assert (tmp_path / "of_rank_0" / "epoch_0" / "config.json").is_file()
    assert (tmp_path / "of_rank_0" / "mixture.png").is_file()
    assert not [path for path in (tmp_path / "of_rank_1").rglob("*") if path.is_file()]
