# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A row's config with selected examples, and selections that do not fit it."""

import pytest
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.selection.files import write_config
from mos_tune.sweep.plan import planned_runs
from mos_tune.sweep.rows import SweepRow

BASE = {
    "seed": 0,
    "output_dir": "unused",
    "scorer": {"_component_": "mos_tune.scorers.MLPScorer"},
    "dataset": {
        "copy": {"_component_": "mos_tune.datasets.skill_dataset", "skill": "copy", "size": 50},
        "sort": {
            "_component_": "mos_tune.datasets.skill_dataset",
            "skill": "sort",
            "size": 50,
            "max_epochs": 3,
        },
    },
    "validation": {"every_n_steps": 5, "fraction": 0.1, "max_examples": 8},
}


@pytest.fixture
def plan(tmp_path):
    """The config of a row on a selection of one config, in a sweep on another."""
    file = tmp_path / "config.yaml"

    def plan(*overrides, base=BASE, selected_from=BASE):
        if selected_from is not None:
            files = {name: tmp_path / f"{name}.jsonl" for name in selected_from["dataset"]}
            write_config(file, OmegaConf.create(selected_from), files, files)
        OmegaConf.save(OmegaConf.create(base), tmp_path / "base.yaml")
        row = SweepRow(overrides=["scorer=null"], dataset=file)
        (run,) = planned_runs(
            tmp_path / "base.yaml",
            {"some": row},
            [4],
            overrides=overrides,
            recipe="recipe.py",
            processes=1,
            output=tmp_path / "sweep",
        )
        assert OmegaConf.load(run.directory / "config.yaml") == run.config
        return run.config, OmegaConf.load(file)

    return plan


def test_only_datasets_and_what_is_held_out_come_from_the_selection(plan):
    different = BASE | {"scorer": None, "validation": BASE["validation"] | {"max_examples": 3}}
    cfg, file = plan("validation.every_n_steps=7", selected_from=different)
    assert cfg.dataset["copy"].held_out.seed == 4 and cfg.dataset.sort.max_epochs == 3
    assert cfg.scorer == {"_component_": None} and cfg.output_dir.endswith("sweep/some/seed_4")
    whole, selected = OmegaConf.to_container(cfg), OmegaConf.to_container(file)
    assert whole["dataset"] == selected["dataset"]
    assert whole["validation"].pop("dataset") == selected["validation"]["dataset"]
    assert whole["validation"] == {"every_n_steps": 7, "max_examples": 8}


def test_held_out_datasets_of_their_own_stay(plan):
    base = BASE | {"validation": {"every_n_steps": 5, "dataset": BASE["dataset"]}}
    cfg, _ = plan(base=base, selected_from=base)
    assert cfg.validation == base["validation"]
    cfg, _ = plan(base=BASE | {"validation": None}, selected_from=BASE | {"validation": None})
    assert cfg.validation is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dataset.copy.size=40"], "with dataset.copy.size 50, and this sweep has 40; select"),
        (["dataset.sort.max_epochs=2"], "with dataset.sort.max_epochs 3, and this sweep has 2"),
        (["dataset.copy.length=9"], "with dataset.copy.length None, and this sweep has 9"),
        (["validation.fraction=0.2"], "with validation.fraction 0.1, and this sweep has 0.2"),
    ],
)
def test_a_selection_with_other_settings_is_refused(plan, overrides, said):
    with pytest.raises(UserError, match=f"row some on .*base.yaml: .*config.yaml is .*{said}"):
        plan(*overrides)


def test_a_selection_of_other_datasets_is_refused(plan):
    other = BASE | {"dataset": {"copy": BASE["dataset"]["copy"], "x": BASE["dataset"]["sort"]}}
    with pytest.raises(UserError, match="has the datasets copy, x, and this sweep has copy, sort$"):
        plan(selected_from=other)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot read .*config.yaml: No such file or directory; recipes/select_examples.py"),
        ("a: [", "config.yaml is no config: "),
        ("seed: 1", "config.yaml has no dataset section with a section for each dataset"),
        ("dataset: {copy: 1, sort: 2}", "config.yaml has no dataset section with"),
        ("dataset: {copy: {dataset: x}, sort: {}}", "dataset.copy of .*config.yaml is no sel"),
    ],
)
def test_a_file_that_is_no_selection_is_refused(plan, tmp_path, text, said):
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        plan(selected_from=None)


def test_a_selection_that_holds_nothing_out_is_refused(plan):
    said = "with validation.fraction None, and this sweep has 0.1"
    with pytest.raises(UserError, match=said):
        plan(selected_from=BASE | {"validation": None})
