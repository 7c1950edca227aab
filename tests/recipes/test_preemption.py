# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A run whose machine is taken away resumes as if nothing had been; one that lost a rank ends."""

import re
from functools import partial

from helpers import runs
from helpers.interrupted import assert_identical, settings_of

run_as_user = partial(runs.mos_tune_run, launcher=())

FAULTY = {
    "optimizer": {"_component_": "helpers.components.FaultyAdamW", "lr": 1e-3},
    "reward": {"_component_": "helpers.components.FaultyReward", "batch_size": 8},
    "checkpoint": {"every_n_steps": 100, "keep_last": 2},
    "batch_size": 4,
}


def faulty(directory):
    settings = settings_of(directory, **FAULTY)
    settings["checkpointer"]["_component_"] = "helpers.components.FaultyCheckpointer"
    return settings


def saved(run):
    folder = run.directory / "checkpoints"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_stopped_again_and_again_and_killed_it_is_the_same_run(tmp_path):
    whole = settings_of(tmp_path / "whole", checkpoint=None, batch_size=4)
    whole = run_as_user(whole | {"resume_from_checkpoint": False}, launcher=None)
    settings = faulty(tmp_path / "stopped")

    def stopped(*overrides):
        run = run_as_user(settings, *overrides, ok=False)
        assert run.code == 75, run.output[-6000:]
        assert run.output.count("resume_from_checkpoint=True resumes: code 75") == 1
        assert "mos-tune stopped on rank" not in run.output
        # Of two signals at once, torchrun's own log may report the second.
        assert "Traceback" not in run.output or "twice" in str(overrides), run.output[-6000:]
        return run

    # Before step 1; in a step of another rank than 0; in a scorer update; in an export.
    run = stopped("reward.in_prepare='terminate launcher'")
    assert saved(run) == []
    run = stopped("optimizer.fault=terminate", "optimizer.at=2", "optimizer.rank=1")
    assert saved(run) == ["step_2"]
    assert run.output.count("mos-tune stopped by SIGTERM after step 2, which is saved") == 1
    run = stopped("reward.in_update='terminate all twice'")
    assert saved(run) == ["step_2", "step_4"]
    run = stopped("checkpointer.in_export='terminate launcher'")
    assert saved(run) == ["step_4", "step_7"]

    kill = ("optimizer.fault=kill", "optimizer.rank=1")
    run = run_as_user(settings, *kill, "optimizer.at=2", ok=False)
    assert run.code == 128 + 9 and saved(run) == ["step_4", "step_7"]
    assert re.search(r"mos-tune: rank 1 \(pid \d+\) was killed by SIGKILL", run.output)
    assert "Traceback" not in run.output, run.output[-6000:]

    run = run_as_user(settings, *kill, "optimizer.at=3", launcher=("--max-restarts", "3"))
    assert run.output.count("Resuming from") == 2
    assert_identical(run, whole)


def test_one_process_stops_in_a_validation(tmp_path):
    settings = faulty(tmp_path) | {"validation": {"every_n_steps": 1, "fraction": 0.1}}
    settings["validation"]["max_examples"] = 8
    run = run_as_user(
        settings, "optimizer.fault='terminate launcher'", "optimizer.at=1", processes=1, ok=False
    )
    assert run.code == 75 and saved(run) == ["step_1"]
    assert [line["step"] for line in run.events("validation")] == [0, 1]


def test_without_checkpoints_the_signal_ends_the_run(tmp_path):
    settings = faulty(tmp_path) | {"checkpoint": None, "resume_from_checkpoint": False}
    run = run_as_user(settings, "optimizer.fault='terminate all twice'", "optimizer.at=1", ok=False)
    assert run.code == 128 + 15
    assert run.output.count("mos-tune stopped by SIGTERM; nothing was saved after it") == 1


def test_a_rank_that_hangs_is_named(tmp_path):
    settings = faulty(tmp_path) | {"checkpoint": None, "resume_from_checkpoint": False}
    hang = ("optimizer.fault=hang", "optimizer.at=1", "optimizer.rank=1")
    run = run_as_user(settings, *hang, ok=False)
    assert run.code == 1
    end = run.output.splitlines()[-1]
    assert re.match(r"mos-tune: rank 0 ended with exit code 1: rank 1 no longer answers \(Ti", end)
    assert re.search(r"mos-tune stopped: rank 1 no longer answers \(Timed out", run.output)
    assert "Traceback" not in run.output, run.output[-6000:]
