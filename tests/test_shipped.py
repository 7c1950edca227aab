# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from pathlib import Path

import pytest
from helpers.runs import REPOSITORY

from mos_tune.errors import UserError
from mos_tune.shipped import CLONE, CONFIGS, RECIPES, shipped


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_in_a_clone_they_are_its_own_files():
    assert CLONE == REPOSITORY
    assert {file.stem for file in (REPOSITORY / "recipes").glob("[!_]*.py")} == set(RECIPES.names())
    assert not (REPOSITORY / "mos_tune" / "recipes").exists()


@pytest.mark.parametrize("name", ["eval/qwen1_5_0.5B", "eval/qwen1_5_0.5B.yaml"])
def test_names_have_sub_folders_and_dots(name):
    assert CONFIGS.find(name) == REPOSITORY / "configs" / "eval" / "qwen1_5_0.5B.yaml"


def test_the_current_folder_comes_first(tmp_path):
    assert CONFIGS.find("tiny_llama3_mos").is_absolute()
    Path("tiny_llama3_mos.yaml").touch()
    Path("full_finetune_mos_distributed").mkdir()  # no file
    assert CONFIGS.find("tiny_llama3_mos") == Path("tiny_llama3_mos.yaml")
    assert CONFIGS.find(f"{tmp_path}/tiny_llama3_mos") == tmp_path / "tiny_llama3_mos.yaml"
    assert RECIPES.find("full_finetune_mos_distributed").parent == REPOSITORY / "recipes"


@pytest.mark.parametrize("given", ["mine", "./mine.py", "{folder}/mine.py"])
def test_a_path_is_taken_as_it_is(tmp_path, given):
    (tmp_path / "mine.py").touch()
    assert RECIPES.find(given.format(folder=tmp_path)).samefile("mine.py")


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("full_finetune_distributed", "full_finetune_mos_distributed"),
        ("recipes/full_finetune_mos_distributed.py", "full_finetune_mos_distributed"),
        ("tiny_lama3_mos", "tiny_llama3_mos"),
        ("llama3_8B", "eval/llama3_8B"),
    ],
)
def test_of_an_unknown_name_the_nearest_are_told(given, near):
    with pytest.raises(UserError, match=rf"there is no recipe or config {given}; ") as caught:
        shipped(given, RECIPES, CONFIGS)
    assert near in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_a_name_that_is_like_none_nothing_is_guessed():
    with pytest.raises(UserError, match="no config zzz; `mos-tune ls` lists all"):
        CONFIGS.find("zzz")
