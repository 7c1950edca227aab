# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.evaluation import evaluated_run, write_tokenizer
from helpers.runs import tune
from omegaconf import OmegaConf
from transformers import GPT2Config, GPT2LMHeadModel

from mos_tune.evaluation import read_results

RECIPE = "recipes/eleuther_eval_mos.py"


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    cfg = evaluated_run(tmp_path_factory.mktemp("evaluation"))
    # The datasets library's cache, for what is started here.
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_DATASETS_CACHE", str(Path(cfg.checkpoint_dir).parent / "cache"))
    patch.setenv("HF_HUB_OFFLINE", "1")
    yield cfg
    patch.undo()


def evaluated(cfg, processes):
    file = Path(cfg.checkpoint_dir).parent / "eval.yaml"
    OmegaConf.save(cfg, file)
    copy = Path(cfg.checkpoint_dir).with_name(f"on_{processes}")
    shutil.copytree(cfg.checkpoint_dir, copy)
    run = tune(file, f"checkpoint_dir={copy}", processes=processes, recipe=RECIPE)
    samples = {path.name: path.read_text() for path in copy.glob("samples_*.jsonl")}
    return run, read_results(copy), samples


@pytest.fixture(scope="module")
def on_one(cfg):
    return evaluated(cfg, 1)


def test_two_ranks_score_as_one_does(cfg, on_one):
    _, alone, samples = on_one
    run, together, same_samples = evaluated(cfg, 2)
    assert together["evaluations"][0]["world_size"] == 2
    assert together["scores"] == alone["scores"]
    assert len(samples) == 2 and same_samples == samples
    # Rank 0 alone speaks of questions and scores.
    assert run.output.count("|mos_test ") == 1
    assert run.output.count("results.json") == 1


def test_torchtunes_own_recipe_takes_the_same_config_and_checkpoint(cfg, on_one, tmp_path):
    # The hub's one call: torchtune's recipe loads GPT-2, of which it uses nothing. With a folder
    # of that name, transformers looks nowhere else.
    gpt2 = tmp_path / "gpt2"
    write_tokenizer(gpt2)
    GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=256)).save_pretrained(gpt2)
    OmegaConf.save(cfg, tmp_path / "eval.yaml")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("tune")), "run", "eleuther_eval"]
        # Its answers have up to 256 tokens whatever a task says: too many for the tiny model. And
        # with lm-eval 0.4.9.2 it finds tasks of an include_path only through a group.
        + ["--config", str(tmp_path / "eval.yaml"), "tasks=[mos_test_choices]"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = [line for line in (done.stderr + done.stdout).splitlines() if "|acc " in line]
    samples = on_one[2]["samples_mos_test_choice.jsonl"]
    correct = [json.loads(line)["acc"] for line in samples.splitlines()]
    assert table and str(round(sum(correct) / len(correct), 4)) in table[-1]
