# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The rows file, and the paper's rows on every base config."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.selection.files import write_config
from mos_tune.sweep.plan import planned_runs
from mos_tune.sweep.rows import SweepRow, read_rows
from mos_tune.training.components import build, is_off
from mos_tune.training.config import check_config, check_reward

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "configs/sweeps/paper.yaml"
BASES = sorted((ROOT / "configs").glob("*_mos.yaml"))
RECIPE = "recipes/full_finetune_mos_distributed.py"


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
def test_the_papers_rows_are_sound_on_every_base(base, tmp_path):
    specialist = "sort" if "tiny" in base.stem else "mathematics"
    whole = OmegaConf.load(base)
    for method in ("random", "ifd"):
        files = {name: tmp_path / method / f"{name}.jsonl" for name in whole.dataset}
        write_config(tmp_path / method / "config.yaml", whole, files, files)
    rows = read_rows(PAPER, [specialist], str(tmp_path))
    assert len(rows) == 15
    runs = planned_runs(base, rows, [0], overrides=[], recipe=RECIPE, processes=1, output=tmp_path)
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


def test_specialists_are_filled_in(tmp_path):
    file = tmp_path / "rows.yaml"
    file.write_text('plain: [a=1]\n"only_{specialist}": ["b={specialist}", c=2]\n')
    plain = SweepRow(overrides=["a=1"])
    assert read_rows(file, []) == {"plain": plain}
    assert read_rows(file, ["x", "two words"]) == {
        "plain": plain,
        "only_x": SweepRow(overrides=["b=x", "c=2"]),
        "only_two_words": SweepRow(overrides=["b=two words", "c=2"]),
    }


def test_selections_are_filled_in(tmp_path):
    file = tmp_path / "rows.yaml"
    file.write_text(
        """
        plain: [a=1]
        some: {dataset: "{selection}/some.yaml", overrides: [b=2]}
        same: {dataset: same.yaml}
        "{specialist}": {dataset: "{selection}/{specialist}.yaml"}
        listed: ["c={selection}"]
        """
    )
    without = {
        "plain": SweepRow(overrides=["a=1"]),
        "same": SweepRow(overrides=[], dataset=Path("same.yaml")),
    }
    assert read_rows(file, ["x"]) == without
    assert read_rows(file, ["x"], "a folder") == without | {
        "some": SweepRow(overrides=["b=2"], dataset=Path("a folder/some.yaml")),
        "x": SweepRow(overrides=[], dataset=Path("a folder/x.yaml")),
        "listed": SweepRow(overrides=["c=a folder"]),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a, b]", "must map names of rows to lists of overrides"),
        ("row: scorer=null", "row must have a list of overrides, as in .*, got 'scorer=null'"),
        ("row: [{scorer: null}]", "row must have a list of overrides"),
        ("row: {dataset: x, overrides: a=1}", "row must have a list of overrides, .* got 'a=1'"),
        ("row: {overrides: []}", "row.dataset must be the path of a config .*, got None"),
        ("row: {datasets: x}", "row.datasets is no option of a row; there are dataset, overrides"),
        ("a/b: []", "'a/b' must be another name"),
        ("row: ['x={specialist}']", "'row' must be another name"),
        ("row: [", "is no YAML"),
    ],
)
def test_bad_rows(tmp_path, text, said):
    file = tmp_path / "rows.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        read_rows(file, ["x", "y"])
    with pytest.raises(UserError, match="cannot read .*: No such file"):
        read_rows(tmp_path / "none.yaml", [])
