# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from mos_tune.recipe_advice import RECIPES, advice

ROOT = Path(__file__).parents[1]
RECIPE = "recipes/full_finetune_mos_distributed.py"
BY_TORCHRUN = ["tune", "run", "--nproc_per_node", "2", RECIPE, "--config", "x.yaml"]
PLAIN = ["tune", "run", RECIPE, "--config", "x.yaml"]


@pytest.fixture(scope="module")
def tune():
    """The real program, with mos-tune installed: the advice comes from a file of the wheel."""
    try:
        files = importlib.metadata.files("mos-tune") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.fail("mos-tune is not installed in this environment: pip install --no-deps -e .")
    assert "mos_tune_recipe_advice.pth" in [str(file) for file in files]

    def run(*arguments, cwd):
        program = Path(sys.executable).with_name("tune")
        return subprocess.run(
            [program, *arguments], cwd=cwd, capture_output=True, text=True, check=False
        )

    return run


def test_plain_start_is_corrected(tune):
    done = tune(*PLAIN[1:], "reward.smoothing=1.0", "note=two words", cwd=ROOT)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "isn't a package" not in done.stderr
    command = done.stderr.splitlines()[-2].strip()
    assert command == (
        f"tune run --nproc_per_node 1 {RECIPE} --config x.yaml reward.smoothing=1.0 "
        "'note=two words'"
    )
    assert "cd " not in done.stderr


@pytest.mark.parametrize("recipe", [RECIPE, f"./{RECIPE}", f"{ROOT}/{RECIPE}", Path(RECIPE).stem])
def test_start_from_another_folder_is_corrected(tune, tmp_path, recipe):
    done = tune("run", "--nproc_per_node", "2", recipe, "--config", "x.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("    ")]
    assert lines == [f"cd {ROOT}", " ".join(BY_TORCHRUN)]


def test_other_imports_of_recipes_are_torchtunes(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "import recipes"], cwd=tmp_path, capture_output=True, check=False
    )
    assert b"The torchtune recipes directory isn't a package" in done.stderr


def test_python_starts_without_anything_heavy(tmp_path):
    code = "import sys; print(*sorted({'torch', 'torchtune', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", "import mos_tune.recipe_advice;" + code],
        env={"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "argv",
    [
        BY_TORCHRUN,
        [*BY_TORCHRUN[:4], RECIPE.removesuffix(".py"), *BY_TORCHRUN[5:]],
        ["/usr/bin/tune", *BY_TORCHRUN[1:]],
    ],
)
def test_right_start_is_left_alone(monkeypatch, argv):
    monkeypatch.chdir(ROOT)
    assert advice(argv) is None


def test_python_path_makes_any_start_right(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    assert advice(PLAIN) is None
    assert advice(BY_TORCHRUN) is None


@pytest.mark.parametrize(
    "argv",
    [
        ["tune", "cp", RECIPE, "mine.py"],
        ["tune", "ls"],
        ["tune"],
        ["tune", "run", "full_finetune_distributed", "--config", RECIPE],
        ["tune", "run", "full_finetune_distributed", f"output_dir={RECIPE}", "--config", "x.yaml"],
        ["pytest", "run", RECIPE],
        [""],
    ],
)
def test_other_programs_are_left_alone(monkeypatch, tmp_path, argv):
    monkeypatch.chdir(tmp_path)
    assert advice(argv) is None


def test_all_recipes_are_known():
    files = {path.stem for path in (ROOT / "recipes").glob("*.py")} - {"__init__"}
    assert files == set(RECIPES)
