# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The training commands that README, docs and configs tell, up to where weights would be loaded."""

import re
import shlex

import pytest
from helpers.runs import REPOSITORY
from torchtune.config._parse import TuneRecipeArgumentParser
from torchtune.config._utils import _merge_yaml_and_cli_args

from mos_tune.components import build, is_off, try_components
from mos_tune.selection.options import read_options
from mos_tune.training.config import check_config, check_reward

COMMAND = re.compile(r"tune run .*?--nproc_per_node (\d+) (recipes/\S+\.py) +(--config configs/.*)")


def commands():
    files = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("configs/*")]
    for file in sorted(path for path in files if path.is_file()):
        for found in COMMAND.finditer(re.sub(r"\\\n\s*", "", file.read_text())):
            processes, recipe, arguments = found.groups()
            if "eval" not in recipe and "mt_bench" not in recipe and "own_reward" not in arguments:
                yield file.name, int(processes), recipe, arguments


ALL = sorted(set(commands()))


def test_there_are_commands_for_every_training_recipe_and_config():
    recipes = {f"recipes/{path.name}" for path in REPOSITORY.glob("recipes/*finetune*.py")}
    assert recipes == {recipe for _, _, recipe, _ in ALL if "finetune" in recipe}
    told = {word for *_, arguments in ALL for word in arguments.split()}
    assert {f"configs/{path.name}" for path in (REPOSITORY / "configs").glob("*.yaml")} <= told


@pytest.mark.parametrize(("file", "processes", "recipe", "arguments"), ALL)
def test_a_command_that_is_told_is_sound(file, processes, recipe, arguments):
    if "bitsandbytes" in arguments:
        pytest.importorskip("bitsandbytes")
    assert (REPOSITORY / recipe).exists()
    words = shlex.split(arguments)
    words[1] = str(REPOSITORY / words[1])
    cfg = _merge_yaml_and_cli_args(*TuneRecipeArgumentParser().parse_known_args(words))
    check_config(cfg)
    try_components(cfg, total_steps=10)
    if not is_off(cfg.scorer):
        check_reward(cfg, build("reward", cfg.reward, list(cfg.dataset)))
    if "8B" in arguments or "2B" in arguments or "0.5B" in arguments:
        # The paper's, on however many devices.
        assert processes * cfg.batch_size * cfg.gradient_accumulation_steps == 64
    if "lora" in recipe:
        assert cfg.model._component_.rpartition(".")[2].startswith(("lora_", "qlora_"))
    if "select" in recipe:
        assert read_options(cfg).scoring.model._component_
