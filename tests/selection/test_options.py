# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.selection.options import read_options

CONFIG = {
    "output_dir": "out",
    "batch_size": 3,
    "model": {"_component_": "a"},
    "tokenizer": {"_component_": "b"},
    "checkpointer": {"_component_": "c", "output_dir": "${output_dir}"},
}


def read(**section):
    return read_options(OmegaConf.create(CONFIG | {"selection": section}))


def test_a_training_config_needs_no_section():
    for cfg in (CONFIG, CONFIG | {"selection": None}):
        options = read_options(OmegaConf.create(cfg))
        assert (options.method, options.fraction, options.seed) == ("ifd", 0.1, 0)
        assert (options.batch_size, str(options.output_dir)) == (3, "out/selection")
        assert options.scoring.checkpointer.output_dir == "out"


def test_another_config_gives_the_model_that_scores(tmp_path):
    path = tmp_path / "other.yaml"
    other = CONFIG | {"output_dir": "elsewhere", "model": {"_component_": "d"}}
    OmegaConf.save(OmegaConf.create(other), path)
    options = read(model_config=str(path))
    assert options.scoring.model._component_ == "d"
    assert options.scoring.checkpointer.output_dir == "elsewhere"
    assert str(options.output_dir) == "out/selection"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"select": "ifd"}, "selection.select is no option; there are method, fraction"),
        ({"method": "best"}, "selection.method must be ifd or random, got 'best'"),
        ({"fraction": 0}, "selection.fraction must be .* got 0"),
        ({"batch_size": 0}, "selection.batch_size must be .* got 0"),
        ({"seed": -1}, "selection.seed must be .* got -1"),
        ({"model_config": "/nowhere.yaml"}, "selection.model_config /nowhere.yaml cannot be read"),
    ],
)
def test_bad_options(section, words):
    with pytest.raises(UserError, match=words):
        read(**section)


def test_a_config_without_a_model_cannot_score(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text("tokenizer: {}")
    with pytest.raises(UserError, match="other.yaml lacks model, checkpointer"):
        read(model_config=str(path))
