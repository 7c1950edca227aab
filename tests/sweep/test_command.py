# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The command, with real runs of three steps."""

import csv
import json
import shutil

import pytest
from helpers.runs import config
from helpers.warm_python import warm_python
from omegaconf import OmegaConf

from mos_tune.selection.recipe import SelectionRecipe
from mos_tune.sweep.command import main

ROWS = """
uni: [scorer=null]
broken: [optimizer.lr=high]
mos: [scorer.update_every=1, optimizer.lr=0.003]
random: [scorer=null, "dataset.{dataset}.selection={selection}/random/{dataset}.jsonl"]
"""


@pytest.fixture
def sweep(tmp_path, monkeypatch, capfd):
    """Call the command with a config of three steps and the rows above: exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHON_EXEC", warm_python())
    monkeypatch.setattr("sys.executable", warm_python())
    OmegaConf.save(
        config(tmp_path) | {"max_steps_per_epoch": 3, "batch_size": 8}, tmp_path / "base.yaml"
    )
    (tmp_path / "rows.yaml").write_text(ROWS)

    def call(*arguments):
        files = ["--config", str(tmp_path / "base.yaml"), "--rows", str(tmp_path / "rows.yaml")]
        try:
            main([*files, "--output", str(tmp_path / "sweep"), *arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capfd.readouterr()

    return call


def test_a_sweep(sweep, tmp_path):
    output = tmp_path / "sweep/base"

    # Only commands, of all runs.
    code, out, _ = sweep("--print")
    commands = out.splitlines()
    file = output / "mos/seed_0/config.yaml"
    assert code == 0 and len(commands) == 3
    recipe = "full_finetune_mos_distributed"
    assert commands[2] == f"mos-tune run --nproc_per_node 1 {recipe} --config {file} overwrite=True"
    assert OmegaConf.load(file).scorer.update_every == 1
    assert not (output / "uni/seed_0/run.log").exists()
    # A run that was killed before its first event has not ended.
    (output / "uni/seed_0/mixture.jsonl").touch()
    assert len(sweep("--print")[1].splitlines()) == 3

    # A failing row does not keep the next from running, and is said at the end.
    code, out, err = sweep()
    assert code == 1
    assert "[1/3] uni, seed 0: ended after" in out and "[3/3] mos, seed 0: ended after" in out
    reason = "broken, seed 0: exit code 1. mos-tune stopped: optimizer.lr must be a finite number"
    assert "These failed:\n[2/3] " + reason in err
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()[-5:]]
    table = [line for line in table if line]
    names = ["count", "copy", "sort", "reverse"]
    assert table[0] == ["run", "runs", *names, "mean", *(f"p {name}" for name in names)]
    assert [line[:2] for line in table[2:]] == [["uni", "1"], ["mos", "1"]]
    assert table[2][-4:] == ["0.250"] * 4
    with open(output / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        lines = (output / row["run"] / "seed_0/mixture.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        (last,) = [one for one in events if one["event"] == "validation" and one["step"] == 3]
        assert {name: float(row[name]) for name in names} == last["losses"]
        assert float(row["mean"]) == last["mean"]
    best = min(f"{float(row['mean']):.3f}" for row in rows)
    assert {line[6] for line in table[2:] if line[6].startswith("**")} == {f"**{best}**"}

    # What has ended is not run again, nor printed; what failed can be mended.
    logs = {row: (output / row / "seed_0/run.log").read_text() for row in ("uni", "mos")}
    (tmp_path / "rows.yaml").write_text(ROWS.replace("high", "0.01"))
    assert len(sweep("--print")[1].splitlines()) == 1
    code, out, _ = sweep("--only", "uni", "mos")
    assert code == 0 and out.count("ended before") == 2
    assert {row: (output / row / "seed_0/run.log").read_text() for row in logs} == logs

    # A row on selected examples is measured on those of the other rows: both begin with one model.
    cfg = OmegaConf.load(tmp_path / "base.yaml")
    cfg.selection = {"method": "random", "fraction": 0.5, "output_dir": str(tmp_path / "some")}
    recipe = SelectionRecipe(cfg)
    recipe.setup(cfg)
    recipe.select()
    recipe.cleanup()
    code, out, _ = sweep("--only", "uni", "random", "--selection", str(tmp_path / "some"))
    assert code == 0 and "[2/2] random, seed 0: ended after" in out
    assert [line.split("|")[1].strip() for line in out.splitlines()[-2:]] == ["uni", "random"]
    uni, random = (
        [json.loads(line) for line in (output / row / "seed_0/mixture.jsonl").open()]
        for row in ("uni", "random")
    )
    first, second = (next(e for e in run if e["event"] == "validation") for run in (uni, random))
    assert first["step"] == 0 and first["losses"] == second["losses"]
    sizes, of_all = random[0]["sizes"], uni[0]["sizes"]
    assert all(0.3 < sizes[name] / of_all[name] < 0.7 for name in names)
    code, out, _ = sweep("--only", "random", "--selection", str(tmp_path / "some"))
    assert code == 0 and out.count("ended before") == 1
    code, _, _ = sweep("--only", "random", "--selection", str(tmp_path / "none"))
    missing = f"{tmp_path}/none/random/count.jsonl does not exist"
    assert f"row random on {tmp_path}/base.yaml: dataset.count.selection {missing}" in code

    # Other settings in the same folder are refused, before anything is run.
    code, out, _ = sweep("--overrides", "optimizer.lr=0.002")
    assert f"{output}/uni/seed_0 has a run with optimizer.lr 0.001, and this sweep has" in code
    assert "0.002; give another --output" in code and not out
    assert "has a run with sweep.processes 1, and this sweep has 2;" in sweep("--processes", "2")[0]
    shutil.move(output / "mos/seed_0/config.yaml", tmp_path)
    assert "mos/seed_0 has a run that is not of a sweep" in sweep()[0]


def test_bad_commands(sweep):
    assert "--only none is no row of" in sweep("--only", "none")[0]
    assert (
        "uni, broken, mos, and those with {specialist} or {selection} only with these"
        in sweep("--only", "random")[0]
    )
    assert "--processes must be a whole number of at least 1, got 0" in sweep("--processes", "0")[0]
    assert "there is no recipe none.py; " in sweep("--recipe", "none.py")[0]
    assert ": Command-line overrides must be" in sweep("--overrides", "seed")[0]
    assert "base.yaml: while parsing" in sweep("--overrides", "seed.x=1", "seed=[")[0]


def test_a_config_with_checkpoints_resumes(sweep, tmp_path):
    sweep("--print", "--overrides", "checkpoint.every_n_steps=1", "checkpoint.keep_last=1")
    written = OmegaConf.load(tmp_path / "sweep/base/uni/seed_0/config.yaml")
    assert written.resume_from_checkpoint is True


def test_sigterm_reaches_the_run_and_ends_the_sweep(sweep, tmp_path, monkeypatch):
    # In place of Python: it has its parent stopped, and waits for the signal to be handed on.
    program = tmp_path / "program"
    waiting = "while :; do sleep 0.05; done"
    # Not before the parent would catch it: signal 15 is bit 14 of what /proc says.
    ready = "until grep -q '^SigCgt:.*[4-7c-f]...$' /proc/$PPID/status; do sleep 0.05; done"
    program.write_text(f"#!/bin/sh\ntrap 'exit 75' TERM\n{ready}\nkill -TERM $PPID\n{waiting}\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program))
    code, out, _ = sweep()
    assert code == 75
    assert out.splitlines()[-1] == "[1/3] uni, seed 0: stopped, and so is the sweep"


def test_a_seed_given_twice_counts_once(sweep):
    assert len(sweep("--print", "--only", "uni", "--seeds", "1", "1")[1].splitlines()) == 1
