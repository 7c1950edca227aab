# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest

from mos_tune.errors import UserError, check_whole, is_number, not_installed


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None])
def test_what_is_no_whole_number_is_refused_with_key_and_value(value):
    with pytest.raises(UserError, match=f"steps must be a whole .* at least 1, got {value!r}"):
        check_whole("steps", value)


def test_the_smallest_value_is_allowed():
    check_whole("steps", 1)
    check_whole("steps", 0, low=0)


@pytest.mark.parametrize("value", [True, "1.0", None, float("nan"), float("inf")])
def test_what_is_no_finite_number(value):
    assert not is_number(value)
    assert is_number(1) and is_number(-0.5)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("lm_eval.tasks", "the package lm_eval is not installed; pip install 'mos-tune[eval]'"),
        ("pyarrow", "the package pyarrow is not installed; pip install 'mos-tune[prepare]'"),
        ("bitsandbytes", "the package bitsandbytes is not installed; pip install bitsandbytes"),
    ],
)
def test_a_package_that_is_not_installed_is_named(name, how):
    assert str(not_installed(ModuleNotFoundError(name=name))) == how


def test_a_module_of_ours_that_is_missing_is_no_users_fault():
    with pytest.raises(ModuleNotFoundError):
        not_installed(ModuleNotFoundError(name="mos_tune.nowhere"))
