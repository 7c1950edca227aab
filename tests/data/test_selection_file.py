# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Runs on selected examples, against the run on all of them."""

import json
from pathlib import Path

import pytest
from helpers.runs import config
from omegaconf import OmegaConf

from mos_tune.data.load import load_data
from mos_tune.data.packing import training_sequences
from mos_tune.errors import UserError
from mos_tune.learning import check_resumes
from mos_tune.sections import read_sections
from mos_tune.tokenizers import CharTokenizer
from mos_tune.training.run_plan import plan_run

SKILL = "mos_tune.datasets.skill_dataset"
FRACTION = {"every_n_steps": 1, "fraction": 0.2, "max_examples": 7}
UNUSABLE = (3, 4, 41)
ROWS = {
    "_component_": "helpers.components.rows_dataset",
    "rows": [
        {"tokens": [1, n + 9], "labels": [-100, -100 if n in UNUSABLE else n + 9]}
        for n in range(60)
    ],
}
SAMPLED = {
    "_component_": "mos_tune.datasets.sampled_dataset",
    "builder": SKILL,
    "fraction": 0.6,
    "skill": "copy",
    "size": 100,
}


@pytest.fixture
def load(tmp_path):
    """Load a dataset with what a file selects of it: indices, or whole lines."""

    def load(selected=None, section=SAMPLED, validation=FRACTION, seed=0, **options):
        cfg = OmegaConf.create({"dataset": {"two words": section | options}})
        cfg.validation = validation
        if selected is not None:
            file = tmp_path / "选 1.jsonl"
            lines = [
                one if isinstance(one, str) else json.dumps({"index": one}) for one in selected
            ]
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            cfg.dataset["two words"].selection = str(file)
        return load_data(read_sections(cfg), CharTokenizer(max_seq_len=64), seed)

    return load


def indices(part):
    return part["two words"].indices


@pytest.mark.parametrize("seed", [0, 5])
@pytest.mark.parametrize("section", [SAMPLED, ROWS], ids=["part", "unusable rows"])
def test_held_out_are_the_same_examples_and_none_of_them_is_trained_on(load, section, seed, caplog):
    every_second = range(58, -1, -2)
    whole = load(section=section, seed=seed)
    some = load(every_second, section=section, seed=seed)
    assert indices(some.held_out) == indices(whole.held_out) and len(indices(some.held_out)) == 7
    assert indices(some.train) == [one for one in indices(whole.train) if one % 2 == 0]
    kept, size = len(indices(some.train)), len(indices(whole.train))
    said = f"dataset.two words.selection: {kept} of {size} training examples "
    assert said + f"({30 - kept} of the 30 selected are held out or left out)" in caplog.text
    assert 0 < kept < 30


def test_held_out_datasets_of_their_own_stay(load, caplog):
    own = {"every_n_steps": 1, "max_examples": 7, "dataset": {"two words": ROWS}}
    some = load([0, 30], validation=own)
    assert indices(some.train) == [0, 30] and len(indices(some.held_out)) == 7
    assert "selection: 2 of 60 training examples\n" in caplog.text


def test_selected_examples_are_packed(load):
    chosen = range(0, 60, 3)
    data = load(chosen, validation=None, packed=True, max_epochs=2)
    packs = training_sequences(data, 64)["two words"]
    contents = [packs.contents(position)[0] for position in range(len(packs))]
    assert len(contents) < len(chosen)
    assert sorted(index for pack in contents for index in pack) == list(chosen)
    assert data.max_epochs == {"two words": 2}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ".jsonl is empty; at least 1 example"),
        ([60], "line 1 of dataset.two words.selection .* index 60; the dataset has 60 examples"),
        ([-1], "the index -1"),
        (['{"index": true}'], "the index True"),
        (['{"score": 1.0}'], "the index None"),
        ([3, "", 3], "line 3 of .* has the index 3 once more"),
        (["7"], "line 1 of .* is no JSON object: '7'"),
        (["[" * 9999], r"line 1 of .* is no JSON object: '\[+'$"),
        (['{"index": 3, "row": {"question": "?"}}'], "line 1 of .* another row .* at index 3; has"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(load, lines, words):
    with pytest.raises(UserError, match=words) as caught:
        load(lines)
    assert "dataset.two words.selection " in str(caught.value)


def test_a_selection_of_held_out_examples_alone_is_refused(load):
    held = indices(load().held_out)
    with pytest.raises(
        UserError, match="^dataset.two words.selection .*: all of its 2 examples are"
    ):
        load(held[:2])


def test_another_selection_than_the_checkpoints_is_refused(tmp_path):
    settings = config(tmp_path)
    file = Path(settings["dataset"]["copy"].setdefault("selection", str(tmp_path / "copy.jsonl")))

    def plan(chosen):
        file.write_text("".join(f'{{"index": {index}}}\n' for index in chosen))
        cfg = OmegaConf.create(settings | {"validation": None})
        return plan_run(cfg, read_sections(cfg), seed=0, epochs=1, resume=False)

    first = plan([4, 5, 6])
    on = {"scorer": {}, "reward": {}, "step": 0}
    saved = {**first.state_dict(), "sampler": first.sampler.state_dict(), **on}
    check_resumes(plan([6, 5, 4]), saved, may_be_longer=True)
    with pytest.raises(UserError, match="dataset.copy.selection has other examples than the check"):
        check_resumes(plan([4, 5, 7]), saved, may_be_longer=True)
    with pytest.raises(UserError, match="dataset.copy"):
        check_resumes(plan([4, 5]), saved, may_be_longer=True)
