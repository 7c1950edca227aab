# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The config of a selection, against the config that it was selected from."""

import json

import pytest
from omegaconf import OmegaConf

from mos_tune.datasets.rows import raw_row
from mos_tune.errors import UserError
from mos_tune.selection.files import write_config, write_selection, write_unusable
from mos_tune.tokenizers import CharTokenizer
from mos_tune.training.data import load_data

SIZE = 60
WITHOUT_ANSWER = (3, 4, 41)
NAMES = ("two words", "other")


@pytest.fixture
def configs(tmp_path):
    """The config of all examples, and that of every second one."""
    file = tmp_path / "rows.jsonl"
    answers = ["" if index in WITHOUT_ANSWER else f"{index}" for index in range(SIZE)]
    rows = [{"input": f"say {index}", "output": answer} for index, answer in enumerate(answers)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    section = {
        "_component_": "torchtune.datasets.instruct_dataset",
        "source": "json",
        "data_files": str(file),
        "cache_dir": str(tmp_path / "cache"),
        "split": "train",
    }
    whole = {
        "output_dir": "unused",
        "seed": 0,
        "dataset": {name: dict(section) for name in NAMES},
        "validation": {"every_n_steps": 5, "fraction": 0.2, "max_examples": 7},
    }

    def select(config=whole, chosen=range(0, SIZE, 2)):
        cfg = OmegaConf.create(config)
        data = load_data(OmegaConf.merge(cfg, {"validation": None}), CharTokenizer(), 0)
        selections = {name: tmp_path / f"{name}.jsonl" for name in data.train}
        unusable = {name: tmp_path / f"{name}.json" for name in data.train}
        for name, examples in data.train.items():
            fitting = [index for index in chosen if index in examples.indices]
            write_selection(selections[name], examples.dataset, fitting, {})
            write_unusable(unusable[name], SIZE, examples.indices)
        write_config(tmp_path / "config.yaml", cfg, selections, unusable)
        return cfg, OmegaConf.load(tmp_path / "config.yaml")

    return whole, select


def numbers(examples) -> list[int]:
    rows = [raw_row(examples.dataset, index) for index in examples.indices]
    return [int(row["output"]) for row in rows]


@pytest.mark.parametrize("seed", [0, 5])
def test_held_out_are_the_same_examples_and_none_of_them_is_trained_on(configs, seed):
    _, select = configs
    whole, selected = (
        load_data(OmegaConf.merge(cfg, {"seed": seed}), CharTokenizer(), seed) for cfg in select()
    )
    for name in NAMES:
        held_out = numbers(selected.held_out[name])
        assert held_out == numbers(whole.held_out[name]) and len(held_out) == 7
        all_train = numbers(whole.train[name])
        assert numbers(selected.train[name]) == [one for one in all_train if one % 2 == 0]
        assert not set(held_out) & set(all_train)


def test_every_seed_and_dataset_has_held_out_examples_of_its_own(configs):
    _, select = configs
    _, cfg = select()
    first, second = (
        load_data(OmegaConf.merge(cfg, {"seed": seed}), CharTokenizer(), seed).held_out
        for seed in (0, 5)
    )
    assert numbers(first["other"]) != numbers(second["other"])
    assert numbers(first["other"]) != numbers(first["two words"])


def test_held_out_datasets_of_their_own_stay(configs):
    whole, select = configs
    own = {"every_n_steps": 5, "dataset": whole["dataset"], "max_examples": 7}
    _, cfg = select(whole | {"validation": own})
    assert cfg.validation == own
    assert "held_out" not in cfg.dataset.other
    _, cfg = select(whole | {"validation": None})
    assert cfg.validation is None and "held_out" not in cfg.dataset.other


def test_what_does_not_fit_is_said(configs, tmp_path):
    _, select = configs
    _, cfg = select()
    with pytest.raises(UserError, match="dataset.two words: held_out.seed, .* at least 0, got Non"):
        load_data(OmegaConf.merge(cfg, {"seed": None}), CharTokenizer(), 0)
    (tmp_path / "two words.json").unlink()
    with pytest.raises(UserError, match="dataset.two words: held_out.unusable .* cannot be read"):
        load_data(cfg, CharTokenizer(), 0)
    whole, cfg = select()
    held = load_data(whole, CharTokenizer(), 0).held_out["two words"].indices
    _, cfg = select(chosen=held[:1])
    with pytest.raises(UserError, match="has only examples that held_out.fraction 0.2 holds out"):
        load_data(cfg, CharTokenizer(), 0)
