# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""One run per output_dir, begun anew only if asked, and what an earlier one left goes with it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.checked import ModelIsLoaded, check
from helpers.runs import REPOSITORY, config, mos_tune_run
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.training.lease import Holder, Lease

STEPS = {"max_steps_per_epoch": 2, "batch_size": 8, "validation": None, "scorer": None}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return config(tmp_path_factory.mktemp("base")) | STEPS


@pytest.fixture
def folder(tmp_path):
    """A folder of a user, in which a run of two epochs has been, and other things are."""
    run = tmp_path / "run"
    for name in (
        "mixture.jsonl",
        "examples.jsonl",
        "mixture.png",
        "epoch_0/model.safetensors",
        "epoch_1/model.safetensors",
        "recipe_state/recipe_state.pt",
        "logs/log_1795761237.txt",
        "checkpoints/step_5/manifest.json",
        "checkpoints/step_10/manifest.json",
        "checkpoints/step_11.partial/half",
        "checkpoints/step_4.damaged/manifest.json",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    for name in ("theta_0/model.safetensors", "notes.txt", "epoch_x/a", "logs/mine.txt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("kept")
    return run


@pytest.fixture
def settings(base, folder):
    cfg = OmegaConf.create(base)
    cfg.output_dir = str(folder)
    del cfg.metric_logger.filename
    return OmegaConf.to_container(cfg)


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


WITH_STEPS = {"checkpoint": {"every_n_steps": 5}}


@pytest.mark.parametrize("section", [{}, WITH_STEPS], ids=["without", "with"])
def test_a_begun_run_is_refused(settings, folder, section):
    before = names(folder)
    message = (
        rf"resume_from_checkpoint is False, but {folder} has a run \(mixture.jsonl, "
        r"examples.jsonl, mixture.png, epoch_0, epoch_1, checkpoints up to step_10\): "
        + ("True resumes it, " if section else "a checkpoint section and True resume it, ")
        + "overwrite=True removes it"
    )
    with pytest.raises(UserError, match=message):
        check(settings | section)
    assert names(folder) == before


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(settings, folder):
    with pytest.raises(ModelIsLoaded):
        check(settings | {"overwrite": True} | WITH_STEPS)
    (log,) = folder.glob("logs/log_*.txt")
    assert log.name != "log_1795761237.txt"
    log.unlink()
    kept = ["epoch_x/a", "logs/mine.txt", "notes.txt", "theta_0/model.safetensors"]
    assert names(folder) == kept
    assert not (folder / "checkpoints").exists() and not (folder / "recipe_state").exists()


def test_nothing_is_removed_before_all_checks_are_through(settings, folder):
    before = names(folder)
    with pytest.raises(UserError, match="dataset.copy: size"):
        settings["dataset"]["copy"]["size"] = -1
        check(settings | {"overwrite": True})
    assert names(folder) == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("checkpoint_dir", "{}/epoch_1"),
        ("checkpoint_files", ["epoch_0/model.safetensors"]),
        ("recipe_checkpoint", "{}/recipe_state/recipe_state.pt"),
    ],
)
def test_what_the_run_reads_is_not_overwritten(settings, folder, key, value):
    settings["checkpointer"]["checkpoint_dir"] = str(folder)
    settings["checkpointer"][key] = value.format(folder) if isinstance(value, str) else value
    before = names(folder)
    with pytest.raises(UserError, match=rf"overwrite is True and removes .*checkpointer.{key} is"):
        check(settings | {"overwrite": True})
    assert names(folder) == before


def test_a_run_that_has_ended_without_checkpoints_is_not_resumed(settings, folder):
    for step in ("step_5", "step_10"):
        (folder / "checkpoints" / step).rename(folder / "checkpoints" / f"{step}.damaged")
    lines = [
        {"event": "start", "step": 0, "names": ["a"], "probabilities": {"a": 1.0}},
        {"event": "end", "step": 2, "average_probabilities": {"a": 1.0}},
    ]
    (folder / "mixture.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    resumes = settings | WITH_STEPS | {"resume_from_checkpoint": True}
    with pytest.raises(UserError, match="has ended and left no checkpoint: overwrite=True"):
        check(resumes)
    # One that has not ended begins again, and nothing of it is left beside the new one.
    (folder / "mixture.jsonl").write_text(json.dumps(lines[0]) + "\n")
    with pytest.raises(ModelIsLoaded):
        check(resumes)
    assert not list(folder.glob("epoch_[0-9]")) and not (folder / "mixture.jsonl").exists()
    assert (folder / "checkpoints" / "step_10.damaged").exists()


def test_what_a_start_that_failed_has_left_is_no_run(settings, folder):
    for name in names(folder):
        if not name.startswith(("logs", "theta_0", "notes", "checkpoints/step_11")):
            (folder / name).unlink()
    for path in [*folder.glob("epoch_[0-9]"), *folder.glob("checkpoints/*[0459d]")]:
        path.rmdir()
    (folder / "mixture.jsonl").touch()
    with pytest.raises(ModelIsLoaded):
        check(settings)
    assert (folder / "logs" / "log_1795761237.txt").exists()


def test_a_start_that_fails_lets_the_next_one_in(settings, folder):
    for _ in range(2):
        with pytest.raises(UserError, match="dataset.copy: size"):
            settings["dataset"]["copy"]["size"] = -1
            check(settings | {"overwrite": True})
    assert not (folder / ".lease").exists()


def test_while_a_run_is_there_no_other_starts(settings, folder):
    lease = Lease(folder / ".lease")
    lease.take()
    for change in ({}, {"overwrite": True}, {"resume_from_checkpoint": True} | WITH_STEPS):
        with pytest.raises(UserError, match=rf"{folder} is in use by a run on .*{os.getpid()}"):
            check(settings | change)
    lease.release()


def test_a_run_again_and_again(base, tmp_path):
    settings = base | {"output_dir": str(tmp_path / "run"), "epochs": 2}
    mos_tune_run(settings, processes=1)
    again = mos_tune_run(settings, processes=1, ok=False)
    assert again.code == 1 and "Traceback" not in again.output
    said = r"mos-tune stopped: resume_from_checkpoint is False, but .* has a run \(mixture.jsonl"
    assert re.search(said, again.output)
    again = mos_tune_run(settings, "overwrite=True", "epochs=1")
    assert sorted(path.name for path in again.directory.glob("epoch_*")) == ["epoch_0"]
    assert list(again.metric("loss")) == [1, 2]
    assert not list(again.directory.glob(".l*"))


def test_of_two_runs_at_once_the_second_is_refused_and_a_killed_one_is_no_hindrance(base, tmp_path):
    settings = base | {
        "output_dir": str(tmp_path / "run"),
        "checkpoint": {"every_n_steps": 1},
        "resume_from_checkpoint": True,
        "max_steps_per_epoch": 72,
        "batch_size": 4,
    }
    waiting = tmp_path / "waiting"
    settings["optimizer"] = {
        "_component_": "helpers.components.WaitingAdamW",
        "at": 3,
        "file": str(waiting),
        "lr": 1e-3,
    }
    file = tmp_path / "run.yaml"
    OmegaConf.save(OmegaConf.create(settings), file)
    command = [sys.executable, "-m", "mos_tune.cli", "run", "--nproc_per_node", "2"]
    command += ["recipes/full_finetune_mos_distributed.py", "--config", str(file)]
    with open(tmp_path / "log.txt", "w") as log:
        first = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    while not waiting.exists() or len(waiting.read_text().split()) < 2:
        assert first.poll() is None, (tmp_path / "log.txt").read_text()[-3000:]
        time.sleep(0.1)
    second = mos_tune_run(settings, ok=False)
    assert second.code == 1 and "Traceback" not in second.output
    assert second.output.count("is in use by a run on") == 2  # the launcher repeats the last line
    workers = [int(pid) for pid in waiting.read_text().split()]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "run" / ".lease").exists()
    third = mos_tune_run(settings, "max_steps_per_epoch=4", "optimizer.at=0")
    assert "Resuming from" in third.output


def test_a_restart_by_the_launcher_is_not_refused(base, tmp_path):
    settings = base | {"output_dir": str(tmp_path / "run")}
    settings["metric_logger"] = settings["metric_logger"] | {
        "_component_": "helpers.components.DyingLogger",
        "die_at": 2,
    }
    restarts = ("--max-restarts", "1")
    run = mos_tune_run(settings, processes=1, launcher=restarts, ok=False)
    assert run.code == 128 + 9 and run.output.count("| loss:") == 0
    assert "has a run" not in run.output
    # Of another launch, it is.
    run = mos_tune_run(settings, processes=1, launcher=restarts, ok=False)
    assert run.code == 1 and "has a run (mixture.jsonl" in run.output.splitlines()[-1]


def test_a_lease_of_another_machine_is_waited_for(base, tmp_path, monkeypatch, caplog):
    holder = Holder(host="node-7", pid=1, started="1", boot="x", namespace="pid:[1]")
    lease = Lease(tmp_path / ".lease", beat=0.1, holder=holder)
    lease.take()
    with pytest.raises(UserError, match=r"in use by a run on node-7 \(process 1\)"):
        check(base | {"output_dir": str(tmp_path)})
    assert "is of a run on node-7: waiting up to 60 s for a sign of life" in caplog.text
    lease.release()
