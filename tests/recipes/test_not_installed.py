# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What needs a package that is not installed says so in one line."""

import os
import subprocess
import sys

import pytest
from helpers.runs import REPOSITORY, mos_tune_run


@pytest.fixture
def without(tmp_path, monkeypatch):
    """Make a package be as if it were not installed."""

    def hide(package):
        error = f'raise ModuleNotFoundError("No module named {package!r}", name={package!r})'
        (tmp_path / f"{package}.py").write_text(error)
        path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
        monkeypatch.setenv("PYTHONPATH", path)

    return hide


@pytest.mark.parametrize("recipe", ["eleuther_eval_mos", "mt_bench_mos"])
def test_lm_eval(without, recipe):
    without("lm_eval")
    config = REPOSITORY / "configs" / "eval" / "smollm2_135M.yaml"
    run = mos_tune_run(config, processes=1, recipe=recipe, ok=False)
    said = "the package lm_eval is not installed; pip install 'mos-tune[eval]'"
    assert run.code == 1 and "Traceback" not in run.output
    assert run.output.count(f"mos-tune stopped: {said}") == 1
    assert run.output.splitlines()[-1] == f"mos-tune: rank 0 ended with exit code 1: {said}"


def test_the_judges_client(without):
    without("openai")
    done = subprocess.run(
        [sys.executable, "-m", "mos_tune.cli", "judge", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    said = "mos-tune stopped: the package openai is not installed; pip install 'mos-tune[eval]'"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == said
    assert "Traceback" not in done.stderr
