# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The wheel as a user has it: in an environment of its own, started from an empty folder."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.runs import REPOSITORY
from omegaconf import OmegaConf

OWN_REWARD = """
import mos_tune
from mos_tune.rewards import Reward

print("mos-tune is", mos_tune.__file__)


class LongAnswers(Reward):
    def measure(self, model, probes):
        lengths = probes.mean(lambda batch: (batch.labels != -100).sum(dim=1, keepdim=True))
        return lengths[:, 0]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    if importlib.util.find_spec("hatchling"):
        build = ["hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    else:
        build = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    subprocess.run([sys.executable, "-m", *build], cwd=REPOSITORY, check=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new environment with nothing but the wheel, which sees this one's other packages."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # Paths alone: what an editable install leaves in them is not followed.
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "others.pth").write_text("\n".join(others))
    return folder


@pytest.fixture
def mos_tune(environment, tmp_path):
    def call(*arguments):
        mine = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [environment / "bin" / "mos-tune", *arguments],
            cwd=tmp_path,
            env=mine | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_it_holds_recipes_and_configs_and_nothing_beside_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mos_tune"}
    assert not any(name.endswith((".pth", ".pyc")) for name in names)
    for folder, pattern in (("recipes", "*.py"), ("configs", "**/*.yaml")):
        files = (REPOSITORY / folder).glob(pattern)
        expected = {f"mos_tune/{file.relative_to(REPOSITORY)}" for file in files}
        assert expected == {name for name in names if name.startswith(f"mos_tune/{folder}/")}


def test_from_an_empty_folder(mos_tune, environment, tmp_path):
    listed = mos_tune("ls")
    assert "full_finetune_mos_distributed" in listed and "eval/llama3_8B" in listed
    assert "copied to tiny_llama3_mos.yaml" in mos_tune("cp", "tiny_llama3_mos")
    config = OmegaConf.load(tmp_path / "tiny_llama3_mos.yaml")
    assert config == OmegaConf.load(REPOSITORY / "configs" / "tiny_llama3_mos.yaml")
    config.output_dir = "of_the_copy"
    OmegaConf.save(config, tmp_path / "tiny_llama3_mos.yaml")

    (tmp_path / "my_mixture.py").write_text(OWN_REWARD)
    run = ["run", "full_finetune_mos_distributed", "--config", "tiny_llama3_mos"]
    few = ["epochs=1", "max_steps_per_epoch=2", "scorer.update_every=1", "reward.batch_size=8"]
    few += ["validation.max_examples=8"]
    out = mos_tune(*run, *few, "reward=my_mixture.LongAnswers")
    (line,) = {line for line in out.splitlines() if line.startswith("mos-tune is ")}
    assert Path(line.removeprefix("mos-tune is ")).is_relative_to(environment)
    assert '"event": "end"' in (tmp_path / "of_the_copy" / "mixture.jsonl").read_text()
