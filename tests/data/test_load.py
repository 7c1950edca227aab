# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from omegaconf import OmegaConf

from mos_tune.data.examples import Examples
from mos_tune.data.load import load_data
from mos_tune.errors import UserError
from mos_tune.mixture import hold_out
from mos_tune.sections import read_sections
from mos_tune.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer(max_seq_len=64)
SECTION = {"_component_": "mos_tune.datasets.skill_dataset", "skill": "copy"}


def load(validation):
    dataset = {"a": SECTION | {"size": 40}, "b": SECTION | {"size": 10, "seed": 1}}
    cfg = OmegaConf.create({"dataset": dataset, "validation": validation})
    return load_data(read_sections(cfg), TOKENIZER, seed=5)


def sizes(data):
    return {name: len(examples) for name, examples in data.train.items()}


def test_without_validation_all_is_for_training():
    data = load(None)
    assert sizes(data) == {"a": 40, "b": 10} and data.held_out == {}


def test_a_fraction_is_held_out_and_only_the_first_of_it_measured():
    data = load({"every_n_steps": 1, "fraction": 0.2, "max_examples": 3})
    assert sizes(data) == {"a": 32, "b": 8}
    for name, size in (("a", 40), ("b", 10)):
        train, held = hold_out(size, 0.2, seed=5, name=name)
        assert data.train[name].indices == train.tolist()
        assert data.held_out[name].indices == held[:3].tolist()
    assert data.train["a"][0] == data.train["a"].dataset[data.train["a"].indices[0]]


def test_held_out_datasets_of_their_own_leave_the_training_sets_whole():
    other = {name: SECTION | {"size": 5, "seed": 9} for name in ("a", "b")}
    data = load({"every_n_steps": 1, "max_examples": 100, "dataset": other})
    assert sizes(data) == {"a": 40, "b": 10}
    assert {name: len(subset) for name, subset in data.held_out.items()} == {"a": 5, "b": 5}


def test_a_held_out_set_need_not_be_trained_on():
    other = {name: SECTION | {"size": 5, "seed": 9} for name in ("target", "b", "a")}
    data = load({"every_n_steps": 1, "max_examples": 3, "dataset": other})
    assert list(data.train) == ["a", "b"] and list(data.held_out) == ["a", "b", "target"]
    assert len(data.held_out["target"]) == 3
    assert "validation.dataset.target" in data.fingerprints


def test_some_keep_their_indices_and_lengths():
    rows = [{"tokens": [1] * length, "labels": [1] * length} for length in (2, 3, 4)]
    examples = Examples("dataset.a", rows, [0, 1, 2], [2, 3, 4], [1, 1, 2]).some([2, 0])
    assert (examples.indices, examples.lengths) == ([2, 0], [4, 2])
    assert examples.contents(0) == ([2], 4) and examples[0] == rows[2]


def test_packs_made_by_the_builder_are_refused():
    packed = {"_component_": "helpers.components.packs_dataset"}
    cfg = OmegaConf.create({"dataset": {"a": packed}, "validation": None})
    with pytest.raises(UserError, match="^dataset.a gives packs of examples; .* dataset.a.packed"):
        load_data(read_sections(cfg), TOKENIZER, seed=5)


def test_the_mixtures_options_do_not_reach_the_builder():
    dataset = {"a": SECTION | {"size": 40, "packed": True, "max_epochs": 2}}
    dataset |= {"b": SECTION | {"size": 9, "packed": False}}
    cfg = OmegaConf.create({"dataset": dataset, "validation": None})
    data = load_data(read_sections(cfg), TOKENIZER, seed=5)
    assert data.packed == ["a"] and data.max_epochs == {"a": 2}


def test_an_unreadable_example_is_named():
    class Broken:
        def __getitem__(self, index):
            raise OSError("disk gone")

    with pytest.raises(UserError, match="^dataset.b: example 7 cannot be read: OSError: disk gone"):
        Examples("dataset.b", Broken(), [3, 7], [5, 5], [2, 2])[1]


def test_what_is_left_out_is_neither_trained_on_nor_held_out():
    rows = [{"tokens": [1, 9 + i], "labels": [-100, 9 + i if i % 2 else -100]} for i in range(40)]
    dataset = {"_component_": "helpers.components.rows_dataset", "rows": rows}
    validation = {"every_n_steps": 1, "fraction": 0.2, "max_examples": 3}
    cfg = OmegaConf.create({"dataset": {"a": dataset}, "validation": validation})
    data = load_data(read_sections(cfg), TOKENIZER, seed=5)
    usable = list(range(1, 40, 2))
    train, held = hold_out(20, 0.2, seed=5, name="a")
    assert sizes(data) == {"a": 16}
    assert data.train["a"].indices == [usable[position] for position in train]
    assert data.held_out["a"].indices == [usable[position] for position in held[:3]]
