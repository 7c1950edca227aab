# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.sections import read_sections

BUILDER = {"_component_": "mos_tune.datasets.skill_dataset"}
FRACTION = {"every_n_steps": 1, "max_examples": 1, "fraction": 0.5}
SETS = {
    "every_n_steps": 1,
    "max_examples": 1,
    "dataset": {name: BUILDER for name in ("a", "b", "target")},
}


def sections(validation, objective):
    cfg = {"dataset": {"a": BUILDER, "b": BUILDER}, "validation": validation}
    return read_sections(OmegaConf.create(cfg | {"objective": objective}))


def test_an_objective_weighs_held_out_sets():
    assert sections(FRACTION, None).objective == {}
    assert sections(FRACTION, {"b": 2}).objective == {"b": 2.0}
    assert sections(SETS, {"target": 0.5, "a": 1}).objective == {"target": 0.5, "a": 1.0}


@pytest.mark.parametrize(
    ("validation", "objective", "message"),
    [
        (None, {"a": 1}, r"objective is \{'a': 1\}, .* but validation is null"),
        (FRACTION, {"c": 1}, "objective.c is no held-out set; there are a, b, and"),
        (SETS, {"c": 1}, "objective.c is no held-out set; there are a, b, target, and"),
        (SETS, {"a": 0}, "objective.a must be a number above 0, got 0"),
        (SETS, {"a": "much"}, "objective.a must be a number above 0, got 'much'"),
        (SETS, {}, "objective must map names of held-out sets to weights, got {}"),
        (SETS, 3, "objective must map names of held-out sets to weights, got 3"),
    ],
)
def test_an_objective_that_weighs_nothing_is_refused(validation, objective, message):
    with pytest.raises(UserError, match=message):
        sections(validation, objective)


@pytest.mark.parametrize("name", ["mean", "a/b"])
def test_a_held_out_set_has_a_name_that_metrics_can_have(name):
    named = SETS | {"dataset": SETS["dataset"] | {name: BUILDER}}
    with pytest.raises(UserError, match=f"validation.dataset.'?{name}'? must have another name"):
        sections(named, None)
