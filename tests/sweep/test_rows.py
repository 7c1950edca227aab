# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The rows file, and the paper's rows on every base config."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mos_tune.components import build, is_off
from mos_tune.errors import UserError
from mos_tune.sweep.plan import dataset_names, planned_runs
from mos_tune.sweep.rows import read_rows
from mos_tune.training.config import check_config, check_reward

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "configs/sweeps/paper.yaml"
BASES = sorted((ROOT / "configs").glob("*_mos.yaml"))
RECIPE = "recipes/full_finetune_mos_distributed.py"


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
def test_the_papers_rows_are_sound_on_every_base(base, tmp_path):
    specialist = "sort" if "tiny" in base.stem else "mathematics"
    names = dataset_names(base, [])
    rows = read_rows(PAPER, names, [specialist], str(tmp_path))
    assert len(rows) == 15

    def plan():
        options = {"overrides": [], "recipe": RECIPE, "processes": 1, "output": tmp_path}
        return planned_runs(base, rows, [0], **options)

    with pytest.raises(UserError, match=f"^row random on .*{names[0]}.selection .* does not exist"):
        plan()
    for method in ("random", "ifd"):
        (tmp_path / method).mkdir()
        for name in names:
            (tmp_path / method / f"{name}.jsonl").touch()
    runs = plan()
    kinds = set()
    for run in runs:
        cfg = run.config
        check_config(cfg)
        kind = ["fixed", cfg.sampler.temperature, cfg.dataset[specialist].get("selection")]
        if not is_off(cfg.scorer):
            check_reward(cfg, build("reward", cfg.reward, list(cfg.dataset)))
            kind = [cfg.reward._component_, cfg.reward.smoothing, cfg.reward.specialist]
            assert str(cfg.sampler.temperature) == "inf"
        kinds.add(tuple(kind))
    assert len(kinds) == 15


def test_placeholders_are_filled_in(tmp_path):
    file = tmp_path / "rows.yaml"
    file.write_text(
        """
        plain: [a=1]
        "only_{specialist}": ["b={specialist}", c=2]
        some: ["d.{dataset}.e={selection}/{dataset}.jsonl", "~d.{dataset}.f", c=2]
        """
    )
    rows = {"plain": ["a=1"]}
    assert read_rows(file, ["x"], []) == rows
    rows |= {"only_x": ['b="x"', "c=2"], "only_two_words": ['b="two words"', "c=2"]}
    assert read_rows(file, ["x"], ["x", "two words"]) == rows
    paths = ['d.x.e="the folder/x.jsonl"', 'd.数学.e="the folder/数学.jsonl"']
    rows["some"] = [*paths, "~d.x.f", "~d.数学.f", "c=2"]
    assert read_rows(file, ["x", "数学"], ["x", "two words"], "the folder") == rows


def test_any_name_of_a_dataset_will_do(tmp_path):
    names = ["数学", "Ärzte & Pflege", "p3-v1_2:nli", "a, b (c) #1", 'it\'s "1"', "null"]
    section = {"_component_": "mos_tune.datasets.skill_dataset"}
    base, file = tmp_path / "base.yaml", tmp_path / "rows.yaml"
    OmegaConf.save({"dataset": dict.fromkeys(names, section)}, base)
    file.write_text('row: ["dataset.{dataset}.selection={selection}/{dataset}.jsonl"]')
    for name in names:
        (tmp_path / f"{name}.jsonl").touch()
    rows = read_rows(file, dataset_names(base, []), [], str(tmp_path))
    options = {"overrides": [], "recipe": RECIPE, "processes": 1, "output": tmp_path}
    (run,) = planned_runs(base, rows, [0], **options)
    written = OmegaConf.load(run.directory / "config.yaml").dataset
    assert {name: one.selection for name, one in written.items()} == {
        name: str(tmp_path / f"{name}.jsonl") for name in names
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a, b]", "must map names of rows to lists of overrides"),
        ("row: scorer=null", "row must have a list of overrides, as in .*, got 'scorer=null'"),
        ("row: [{scorer: null}]", "row must have a list of overrides"),
        ("'{dataset}': []", "'{dataset}' must be another name"),
        ("a/b: []", "'a/b' must be another name"),
        ("row: ['x={specialist}']", "'row' must be another name"),
        ("row: [", "is no YAML"),
    ],
)
def test_bad_rows(tmp_path, text, said):
    file = tmp_path / "rows.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        read_rows(file, [], ["x", "y"])
    with pytest.raises(UserError, match="cannot read .*: No such file"):
        read_rows(tmp_path / "none.yaml", [], [])
