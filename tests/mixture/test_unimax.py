# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import numpy as np
import pytest

from mos_tune.errors import UserError
from mos_tune.mixture import unimax

SIZES = {"big": 9000, "tiny": 10, "small": 50, "large": 2000, "middle": 400}


def shares(sizes=SIZES, **options):
    draws = np.array(list(unimax(sizes, **options).values()))
    return draws / draws.sum()


def test_without_a_limit_it_is_uniform_and_with_a_tight_one_by_size():
    np.testing.assert_allclose(shares(budget=500, epochs=1e9), 1 / 5)
    by_size = np.array(list(SIZES.values())) / sum(SIZES.values())
    for budget, epochs in ((1e9, 4), (500, 1e-6), (sum(SIZES.values()) * 4, 4)):
        np.testing.assert_allclose(shares(budget=budget, epochs=epochs), by_size)


@pytest.mark.parametrize("case", range(50))
def test_untouched_ones_share_alike_and_touched_ones_are_at_the_limit(case):
    rng = np.random.default_rng(case)
    sizes = {f"d{i}": int(10 ** rng.uniform(0, 5)) for i in range(rng.integers(1, 9))}
    epochs = float(rng.uniform(0.5, 8))
    budget = float(rng.uniform(0.01, 0.99)) * epochs * sum(sizes.values())
    draws = unimax(sizes, budget=budget, epochs=epochs)
    assert list(draws) == list(sizes)
    assert sum(draws.values()) == pytest.approx(budget)
    free = [name for name in sizes if draws[name] < epochs * sizes[name] * (1 - 1e-9)]
    level = max(draws.values())
    assert free
    for name in sizes:
        expected = level if name in free else epochs * sizes[name]
        assert draws[name] == pytest.approx(expected)
        assert draws[name] <= epochs * sizes[name] * (1 + 1e-12)
    by_size = [draws[name] for name in sorted(sizes, key=sizes.get)]
    assert by_size == pytest.approx(sorted(by_size))
    backwards = unimax(dict(reversed(sizes.items())), budget=budget, epochs=epochs)
    assert backwards == pytest.approx(draws)


def test_it_changes_with_the_budget():
    assert shares(budget=200)[1] == pytest.approx(0.2)
    assert shares(budget=2000)[1] == pytest.approx(0.02)


@pytest.mark.parametrize("epochs", [0, -1, "four", float("inf")])
def test_a_limit_must_be_above_0(epochs):
    with pytest.raises(UserError, match=f"sampler.unimax_epochs must be .* got .*{epochs}"):
        unimax(SIZES, budget=100, epochs=epochs)
