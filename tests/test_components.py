# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from omegaconf import OmegaConf

from mos_tune.components import build, is_off
from mos_tune.errors import UserError


@pytest.mark.parametrize(
    ("section", "off"),
    [
        (None, True),
        (OmegaConf.create({"_component_": None, "lr": 1}), True),
        (OmegaConf.create({"_component_": "a.b"}), False),
        (OmegaConf.create({"lr": 1}), False),
    ],
)
def test_a_section_is_off_as_null_and_with_a_null_component(section, off):
    assert is_off(section) is off


def section(component, **options):
    return OmegaConf.create({"_component_": f"helpers.components.{component}", **options})


def test_arguments_of_the_recipe_and_options_of_the_config():
    assert build("reward", section("picky", size=4), ["a"], seed=7) == (["a"], 4, 7)


def test_an_option_that_the_recipe_sets_is_not_the_users():
    with pytest.raises(UserError, match=r"reward.seed is no option .* which takes size$"):
        build("reward", section("picky", seed=1), ["a"], seed=7)


def test_errors_inside_carry_the_key():
    with pytest.raises(UserError, match=r"^reward: size must be at most 9, got 10"):
        build("reward", section("picky", size=10), ["a"], seed=7)
    with pytest.raises(UserError, match=r"dataset.x \(.*open_ended\): OSError: no file a.json"):
        build("dataset.x", section("open_ended", file="a.json"), ["a"])


def test_the_cause_of_an_error_is_said_too():
    with pytest.raises(UserError, match=r"causing\): RuntimeError: in short: OSError: disk gone$"):
        build("dataset.x", section("causing"))


def test_a_section_needs_a_component():
    with pytest.raises(UserError, match=r"reward must name a builder as reward._component_, got 3"):
        build("reward", 3)
