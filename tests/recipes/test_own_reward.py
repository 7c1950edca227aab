# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""examples/own_reward.py, used as docs/own_reward.md says."""

import re
import shutil
from importlib import import_module

import pytest
import torch
from helpers.runs import REPOSITORY, SIZES, config, mos_tune_run

DOCUMENT = (REPOSITORY / "docs" / "own_reward.md").read_text()
EXAMPLE = REPOSITORY / "examples" / "own_reward.py"
RECIPE = "full_finetune_mos_distributed"
OVERRIDES = re.search(r"reward=own_reward.*", DOCUMENT)[0].split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a user starts ``mos-tune run``: it has nothing but the user's copy of the file."""
    folder = tmp_path_factory.mktemp("mine")
    shutil.copy(EXAMPLE, folder)
    return folder


def test_ten_lines_each():
    for part in EXAMPLE.read_text().split("class ")[1:]:
        lines = [line for line in part.splitlines() if line.strip() and '"""' not in line]
        assert len(lines) <= 10


def test_the_scorer_is_restored_from_its_state(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    scorers = [import_module("own_reward").RewardShares(torch.ones(2) / 2, seed=0) for _ in "ab"]
    scorers[0].learn(torch.tensor([1.0, 3.0]), torch.tensor([True, True]))
    scorers[1].load_state_dict(scorers[0].state_dict())
    assert scorers[1].probabilities(torch.tensor([True, True])).tolist() == [0.25, 0.75]
    assert scorers[1].probabilities(torch.tensor([True, False])).tolist() == [1, 0]


def test_a_reward_and_a_scorer_from_the_working_folder(folder, tmp_path):
    settings = config(tmp_path)
    settings["scorer"]["lr"] = 1e-4
    for name, length in zip(SIZES, (2, 4, 6, 8), strict=True):
        settings["dataset"][name]["length"] = length
    run = mos_tune_run(settings, *OVERRIDES, recipe=RECIPE, folder=folder)
    # Answers have an end token, too.
    lengths = dict(zip(SIZES, (3, 5, 7, 9), strict=True))
    updates = run.events("update")
    assert [update["step"] for update in updates] == [4, 8, 12]
    for update in updates:
        assert update["raw_rewards"] == lengths
        shares = {name: length / 24 for name, length in lengths.items()}
        assert update["probabilities"] == pytest.approx(shares)


def test_a_file_that_is_not_there_is_named(folder, tmp_path):
    wrong = ("reward=own_rewards.LongAnswers",)
    run = mos_tune_run(config(tmp_path), *wrong, recipe=RECIPE, folder=folder, ok=False)
    assert "reward._component_ 'own_rewards.LongAnswers' does not exist" in run.output
