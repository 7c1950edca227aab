# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import numpy as np
import pytest

from mos_tune.errors import UserError
from mos_tune.mixture import hold_out, probe_indices


@pytest.mark.parametrize(("size", "fraction", "held"), [(100, 0.05, 5), (3, 0.05, 1), (10, 0.5, 5)])
def test_hold_out_parts_the_dataset(size, fraction, held):
    train, out = hold_out(size, fraction, seed=0, name="a")
    assert len(out) == held
    assert sorted([*train, *out]) == list(range(size))


def test_hold_out_is_a_function_of_seed_and_name():
    split = [
        hold_out(1000, 0.1, seed=s, name=n)[1].tolist()
        for s, n in [(0, "a"), (0, "a"), (1, "a"), (0, "b")]
    ]
    assert split[0] == split[1]
    assert split[0] != split[2] and split[0] != split[3]


def test_the_first_held_out_examples_are_from_all_over_the_dataset():
    held = hold_out(10_000, 0.1, seed=0, name="a")[1]
    assert held[:50].max() > 8000 and held[:50].min() < 2000


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_fraction_must_be_a_share(fraction):
    with pytest.raises(UserError, match=f"validation.fraction .*got {fraction}"):
        hold_out(10, fraction, seed=0, name="a")


def test_an_example_must_be_left_to_train_on():
    with pytest.raises(UserError, match=r"validation.fraction 0.9 of dataset.tiny \(1 examples\)"):
        hold_out(1, 0.9, seed=0, name="tiny")


def test_probes_are_distinct_examples_fresh_at_every_update():
    first, second = (probe_indices(500, 64, seed=0, name="a", update=u) for u in (1, 2))
    assert len(np.unique(first)) == 64 and first.max() < 500
    assert set(first) != set(second)
    assert (first == probe_indices(500, 64, seed=0, name="a", update=1)).all()


def test_a_small_dataset_gives_each_example_once():
    assert sorted(probe_indices(5, 64, seed=0, name="a", update=3)) == list(range(5))
