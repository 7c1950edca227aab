# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The rows file, and the paper's rows on every base config."""

from pathlib import Path

import pytest

from mos_tune.errors import UserError
from mos_tune.sweep.plan import planned_runs
from mos_tune.sweep.rows import read_rows
from mos_tune.training.components import build, is_off
from mos_tune.training.config import check_config, check_reward

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "configs/sweeps/paper.yaml"
BASES = sorted((ROOT / "configs").glob("*_mos.yaml"))
RECIPE = "recipes/full_finetune_mos_distributed.py"


@pytest.mark.parametrize("base", BASES, ids=lambda path: path.stem)
def test_the_papers_rows_are_sound_on_every_base(base, tmp_path):
    specialist = "sort" if "tiny" in base.stem else "mathematics"
    rows = read_rows(PAPER, [specialist])
    assert len(rows) == 13
    runs = planned_runs(base, rows, [0], overrides=[], recipe=RECIPE, processes=1, output=tmp_path)
    kinds = set()
    for run in runs:
        cfg = run.config
        check_config(cfg)
        kind = ["fixed", cfg.sampler.temperature]
        if not is_off(cfg.scorer):
            check_reward(cfg, build("reward", cfg.reward, list(cfg.dataset)))
            kind = [cfg.reward._component_, cfg.reward.smoothing, cfg.reward.specialist]
            assert str(cfg.sampler.temperature) == "inf"
        kinds.add(tuple(kind))
    assert len(kinds) == 13


def test_specialists_are_filled_in(tmp_path):
    file = tmp_path / "rows.yaml"
    file.write_text('plain: [a=1]\n"only_{specialist}": ["b={specialist}", c=2]\n')
    assert read_rows(file, []) == {"plain": ["a=1"]}
    assert read_rows(file, ["x", "two words"]) == {
        "plain": ["a=1"],
        "only_x": ["b=x", "c=2"],
        "only_two_words": ["b=two words", "c=2"],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a, b]", "must map names of rows to lists of overrides"),
        ("row: scorer=null", "row must have a list of overrides, as in .*, got 'scorer=null'"),
        ("row: [{scorer: null}]", "row must have a list of overrides"),
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
