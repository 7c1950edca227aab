# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Ranks on different processors stay together, and ranks that measure other things stop."""

import re
import sys

import pytest
from helpers.runs import config, tune


def test_a_planted_divergence_stops_the_run_and_names_the_rank(tmp_path):
    settings = config(tmp_path)
    settings["reward"]["_component_"] = "helpers.components.DivergingReward"
    run = tune(settings, ok=False)
    assert run.code != 0
    message = (
        r"mos-tune stopped: the reward of dataset.\w+ is [\d.]+ on rank 1 and [\d.]+ on rank 0;"
    )
    assert len(re.findall(message, run.output)) == 1
    assert len(run.examples()) == 4 and not run.events("update")


@pytest.mark.parametrize("reward", ["DifficultyReward", "TransferabilityReward"])
def test_ranks_on_different_processors_train_on_one_mixture(tmp_path, reward):
    worker = tmp_path / "python"
    # Rank 1 computes with other instructions, whose results differ in the last bits.
    worker.write_text(
        '#!/bin/sh\n[ "$RANK" = 1 ] && export ATEN_CPU_CAPABILITY=default\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    worker.chmod(0o700)
    settings = config(tmp_path) | {"max_steps_per_epoch": 9}
    settings["reward"]["_component_"] = f"mos_tune.rewards.{reward}"
    settings["sampler"]["temperature"] = 3
    # Nine are left to train on, and then its share is divided up anew.
    settings["dataset"]["reverse"] |= {"size": 10, "max_epochs": 1}
    run = tune(settings, worker=str(worker))
    assert [update["step"] for update in run.events("update")] == [4, 8]
    assert run.events("end")[0]["step"] == 9 and run.events("used_up")
