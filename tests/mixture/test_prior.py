# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import math

import numpy as np
import pytest

from mos_tune.errors import UserError
from mos_tune.mixture import tempered_prior

SIZES = {"a": 262_000, "b": 52_000, "c": 94_000, "d": 7}


@pytest.mark.parametrize("temperature", [1, 10, 0.5, 3.7])
def test_prior_is_equation_3(temperature):
    share = np.array(list(SIZES.values())) / sum(SIZES.values())
    expected = share ** (1 / temperature) / (share ** (1 / temperature)).sum()
    np.testing.assert_allclose(tempered_prior(SIZES, temperature), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("temperature", [math.inf, "inf"])
def test_infinite_temperature_is_uniform(temperature):
    np.testing.assert_allclose(tempered_prior(SIZES, temperature), 0.25, atol=1e-12, rtol=0)


@pytest.mark.parametrize("temperature", [0, -1, math.nan, "warm", None])
def test_temperature_must_be_above_0(temperature):
    with pytest.raises(UserError, match=f"sampler.temperature .* got {temperature!r}"):
        tempered_prior(SIZES, temperature)
