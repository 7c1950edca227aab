# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The commands that README, docs and configs tell, up to where weights would be loaded."""

import re
import shlex
from pathlib import Path

import pytest
from helpers.runs import REPOSITORY
from torchtune.config._parse import TuneRecipeArgumentParser
from torchtune.config._utils import _merge_yaml_and_cli_args

from mos_tune import cli
from mos_tune.components import build, is_off, try_components
from mos_tune.selection.options import read_options
from mos_tune.shipped import CONFIGS, RECIPES
from mos_tune.training.config import check_config, check_reward

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *REPOSITORY.glob("docs/*.md")]
HEADS = [*REPOSITORY.glob("configs/**/*.yaml"), *REPOSITORY.glob("recipes/[!_]*.py")]
RUN = re.compile(r"tune run .*?--nproc_per_node (\d+) (\S+) +--config ([^\s`]+)([^\n`]*)")
# At a line's start in a page's block or a file's head, or in backticks.
TOOL = re.compile(
    r"(?:^(?:# +)?|`)mos-tune (?!run |stopped|authors)([\w-]+)([^\n`]*)", re.MULTILINE
)
# Written by an earlier command, a user's own, or a word for any.
OF_A_USER = re.compile(r"CONFIG|mine\b.*|/.*")


def text(file):
    return re.sub(r"\\\n[#\s]*", "", file.read_text())


def code(file):
    blocks = re.findall(r"```sh\n(.*?)```|(`[^`\n]+`)", text(file), re.DOTALL)
    return "\n".join(map("".join, blocks)) if file.suffix == ".md" else text(file)


def runs():
    for file in [*PAGES, *HEADS]:
        for processes, recipe, name, overrides in RUN.findall(text(file)):
            evaluates = "eval" in recipe or "mt_bench" in recipe
            if not (evaluates or OF_A_USER.fullmatch(name) or re.search(r"=(my|own)_", overrides)):
                yield file.name, int(processes), recipe, name, overrides


ALL = sorted(set(runs()))
TOOLS = sorted({(file.name, *told) for file in PAGES + HEADS for told in TOOL.findall(code(file))})
SWEEPS = [(file, rest) for file, name, rest in TOOLS if name == "sweep" and "--config" in rest]


def test_there_are_commands_for_every_training_recipe_and_config():
    recipes = {path.stem for path in REPOSITORY.glob("recipes/*finetune*.py")}
    assert recipes == {Path(recipe).stem for _, _, recipe, *_ in ALL if "finetune" in recipe}
    told = {Path(name).name.removesuffix(".yaml") for _, _, _, name, _ in ALL}
    assert {path.stem for path in (REPOSITORY / "configs").glob("*.yaml")} <= told


@pytest.mark.parametrize("path", HEADS, ids=lambda path: path.stem)
def test_a_file_that_is_copied_opens_with_its_own_command(path):
    name = path.relative_to(REPOSITORY).with_suffix("").as_posix().split("/", 1)[1]
    head = path.read_text().split("\n\n")[0 if path.suffix == ".yaml" else 2]
    if not name.startswith("sweeps/"):
        kind = r"--config " if path.suffix == ".yaml" else r"--nproc_per_node \d "
        assert re.search(rf"mos-tune run [^\n]*{kind}{re.escape(name)}\b", head)


@pytest.mark.parametrize(("file", "processes", "recipe", "name", "overrides"), ALL)
def test_a_run_that_is_told_is_sound(file, processes, recipe, name, overrides, monkeypatch):
    if "bitsandbytes" in overrides:
        pytest.importorskip("bitsandbytes")
    monkeypatch.chdir(REPOSITORY)
    assert RECIPES.find(recipe).exists()
    words = ["--config", str(CONFIGS.find(name)), *shlex.split(overrides)]
    cfg = _merge_yaml_and_cli_args(*TuneRecipeArgumentParser().parse_known_args(words))
    check_config(cfg)
    try_components(cfg, total_steps=10)
    if not is_off(cfg.scorer):
        check_reward(cfg, build("reward", cfg.reward, list(cfg.dataset)))
    if "8B" in name or "2B" in name or "0.5B" in name:
        # The paper's, on however many devices.
        assert processes * cfg.batch_size * cfg.gradient_accumulation_steps == 64
    if "lora" in recipe:
        assert cfg.model._component_.rpartition(".")[2].startswith(("lora_", "qlora_"))
    if "select" in recipe:
        assert read_options(cfg).scoring.model._component_


@pytest.mark.parametrize(("file", "name"), sorted({tool[:2] for tool in TOOLS}))
def test_a_tool_that_is_told_exists(file, name):
    assert name in cli.COMMANDS


@pytest.mark.parametrize(("file", "options"), SWEEPS)
def test_a_sweep_that_is_told_is_sound(file, options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(options.partition(">")[0].partition("#")[0])
    if "--selection" in words:
        pytest.skip("it reads what an earlier command has written")
    cli.main(["sweep", *words, "--print", "--output", str(tmp_path)])
    assert capsys.readouterr().out.startswith("mos-tune run ")


def anchors(file):
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_files_that_are_named_are_there():
    for file in [*PAGES, *HEADS]:
        for path in re.findall(r"\b((?:benchmarks|docs|mos_tune|tests)/[\w/]+\.\w+)", text(file)):
            assert (REPOSITORY / path).exists(), (file.name, path)
