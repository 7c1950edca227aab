# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from helpers.runs import REPOSITORY
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.overrides import read_config

TINY = REPOSITORY / "configs" / "tiny_llama3_mos.yaml"
SMOLLM2 = REPOSITORY / "configs" / "smollm2_135M_mos.yaml"


def read(*overrides, file=TINY):
    return read_config(["--config", str(file), *overrides])


@pytest.mark.parametrize("word", ["~dataset.count", "dataset.count=null", "dataset.count=None"])
def test_a_dataset_is_left_out(word):
    assert list(read(word).dataset) == ["copy", "sort", "reverse"]
    assert list(read(word, "~dataset.sort", "epochs=2").dataset) == ["copy", "reverse"]


@pytest.mark.parametrize("word", ["~dataset.medicine", "dataset.medicine=null"])
def test_its_held_out_set_goes_with_it(word):
    cfg = read(word, file=SMOLLM2)
    assert list(cfg.dataset) == list(cfg.validation.dataset) == ["mathematics", "general", "nlp"]
    cfg = read(word.replace("dataset", "validation.dataset"), file=SMOLLM2)
    assert "medicine" in cfg.dataset and "medicine" not in cfg.validation.dataset


@pytest.mark.parametrize("first", [True, False])
def test_both_may_be_named_in_any_order(first):
    words = ["dataset.medicine=null", "validation.dataset.medicine=null"]
    cfg = read(*(words if first else reversed(words)), file=SMOLLM2)
    assert list(cfg.dataset) == list(cfg.validation.dataset) == ["mathematics", "general", "nlp"]


def test_what_was_said_of_it_before_is_gone_too():
    assert "count" not in read("dataset.count.size=3", "~dataset.count").dataset


def test_what_follows_may_bring_it_back():
    cfg = read("~dataset.count", "dataset.count._component_=mine.builder")
    assert cfg.dataset.count == {"_component_": "mine.builder"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("~dataset.cuont", "no dataset.cuont to leave out; the nearest is dataset.count"),
        ("dataset.cuont=null", "no dataset.cuont to leave out; the nearest is dataset.count"),
        ("~dataset.law", "the config has no dataset.law to leave out$"),
        ("~valdation.fraction", "no valdation.fraction to leave out$"),
        ("~scorrer", "no scorrer to leave out; the nearest is scorer"),
        ("validation.dataset.copy=null", "no validation.dataset.copy to leave out"),
        ("~epochs.many", "no epochs.many to leave out"),
    ],
)
def test_what_is_not_there_cannot_be_left_out(word, message):
    with pytest.raises(UserError, match=message):
        read(word)


def test_components_and_options_are_left_out_too():
    cfg = read("~scorer", "~reward", "~optimizer.fused", "~validation")
    assert not {"scorer", "reward", "validation"} & set(cfg)
    assert set(cfg.optimizer) == {"_component_", "lr"}


def test_all_else_is_as_in_torchtune():
    cfg = read("reward=mos_tune.rewards.GradientReward", "checkpoint.every_n_steps=50")
    assert cfg.reward._component_ == "mos_tune.rewards.GradientReward"
    assert cfg.checkpoint == {"every_n_steps": 50}
    assert read() == OmegaConf.load(TINY)


@pytest.mark.parametrize("text", ["on: 1", "epochs: {null: 2}"])
def test_a_key_that_is_no_text_is_said(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match="a key of the config is no text: YAML reads .*; quote it"):
        read(file=tmp_path / "a.yaml")
