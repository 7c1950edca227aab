# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What is held out of one dataset is trained on in none; other twins are counted."""

import pytest
from omegaconf import OmegaConf

from mos_tune.data.load import load_data
from mos_tune.errors import UserError
from mos_tune.mixture import hold_out
from mos_tune.sections import read_sections
from mos_tune.tokenizers import CharTokenizer


def rows(*numbers):
    return [{"tokens": [1, n, 2], "labels": [-100, n, 2]} for n in numbers]


def load(datasets, validation, **options):
    def section(content):
        return {"_component_": "helpers.components.rows_dataset", "rows": content}

    dataset = {name: section(content) | options for name, content in datasets.items()}
    if validation is not None and "dataset" in validation:
        own = {name: section(content) for name, content in validation["dataset"].items()}
        validation = validation | {"dataset": own}
    cfg = OmegaConf.create({"dataset": dataset, "validation": validation})
    return load_data(read_sections(cfg), CharTokenizer(), seed=3)


def numbers(examples):
    return [examples[i]["tokens"][1] for i in range(len(examples))]


FRACTION = {"every_n_steps": 1, "fraction": 0.25, "max_examples": 2}


def test_a_row_held_out_of_any_dataset_is_not_trained_on(caplog):
    datasets = {"a": rows(*range(10, 50)), "b": rows(*range(10, 50), *range(10, 50), 99)}
    data = load(datasets, FRACTION)
    held = {
        "a": {10 + i for i in hold_out(40, 0.25, seed=3, name="a")[1]},
        "b": {
            (*range(10, 50), *range(10, 50), 99)[i] for i in hold_out(81, 0.25, seed=3, name="b")[1]
        },
    }
    trained = set(range(10, 50)) - held["a"] - held["b"]
    assert set(numbers(data.train["a"])) == trained
    assert set(numbers(data.train["b"])) - {99} == trained
    # All that is held out counts, not what is measured alone.
    assert len(data.held_out["a"]) == 2
    twins = sum(10 + i in held["b"] for i in hold_out(40, 0.25, seed=3, name="a")[0])
    assert (
        f"dataset.a: {twins} of 30 training examples are also held out of dataset.b; they are not "
        "trained on (validation.keep_twins: False)"
    ) in caplog.messages
    assert any(
        "are also held out of dataset.a" in m and m.startswith("dataset.b: ")
        for m in caplog.messages
    )
    assert any(
        "are also held out of dataset.b" in m and m.startswith("dataset.b: ")
        for m in caplog.messages
    )


def test_an_option_keeps_them_and_they_are_counted_all_the_same(caplog):
    datasets = {"a": rows(*range(10, 50)), "b": rows(*range(10, 50))}
    data = load(datasets, FRACTION | {"keep_twins": True})
    for name in "ab":
        kept, _ = hold_out(40, 0.25, seed=3, name=name)
        assert data.train[name].indices == kept.tolist()
    assert "they are trained on (validation.keep_twins: True)" in caplog.text


def test_rows_of_a_held_out_dataset_of_its_own_are_not_trained_on(caplog):
    own = {"every_n_steps": 1, "max_examples": 1, "dataset": {"a": rows(5, 11), "b": rows(6, 12)}}
    data = load({"a": rows(10, 11, 12), "b": rows(11, 20)}, own)
    assert numbers(data.train["a"]) == [10] and numbers(data.train["b"]) == [20]
    assert (
        "dataset.a: 1 of 3 training examples are also held out of validation.dataset.b; they are "
        "not trained on (validation.keep_twins: False)"
    ) in caplog.messages


def test_twins_in_training_parts_are_counted_only(caplog):
    data = load({"a": rows(10, 11, 12), "b": rows(11, 11, 12, 20), "c": rows(30)}, None)
    assert [len(data.train[name]) for name in "abc"] == [3, 4, 1]
    said = [message for message in caplog.messages if "stand" in message]
    assert said == [
        "dataset.b: 2 of 4 training examples stand in it more than once",
        "dataset.a: 2 of 3 training examples stand in dataset.b too",
        "dataset.b: 3 of 4 training examples stand in dataset.a too",
    ]


def test_the_same_tokens_with_another_mask_are_no_twin():
    masked = [{"tokens": [1, n, 2], "labels": [-100, -100, 9]} for n in range(10, 20)]
    own = {"every_n_steps": 1, "max_examples": 1, "dataset": {"a": rows(*range(10, 20))}}
    assert len(load({"a": masked}, own).train["a"]) == 10


def test_a_dataset_that_is_held_out_as_a_whole_is_refused():
    own = {"every_n_steps": 1, "max_examples": 1, "dataset": {"a": rows(11, 12), "b": rows(13)}}
    with pytest.raises(UserError, match="^dataset.b: all of its 2 training examples are also held"):
        load({"a": rows(17), "b": rows(12, 13)}, own)
