# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import numpy as np
import pytest
import torch

from mos_tune.errors import UserError
from mos_tune.mixture import MixtureSampler, WeightSchedule

SIZES = {"a": 40, "b": 7, "c": 300}
NAMES = list(SIZES)
EVEN = {"a": 1, "b": 1, "c": 1}


def sampler(weights, **options):
    options = {"global_batch_size": 4, "seed": 3, "weights": weights} | options
    return MixtureSampler(SIZES, **options)


def test_weights_are_shares_whatever_their_sum_and_order():
    assert sampler({"c": 5, "a": 2, "b": 1}).prior.tolist() == [0.25, 0.125, 0.625]
    assert sampler({"a": 0.1, "b": 0.1, "c": 0.2}, temperature=1).prior.tolist() == [
        0.25,
        0.25,
        0.5,
    ]


def test_between_two_steps_it_is_linear_and_outside_it_holds():
    schedule = WeightSchedule(NAMES, [[10, EVEN], [20, {"a": 8, "b": 1, "c": 1}]])
    first, last = np.ones(3) / 3, np.array([0.8, 0.1, 0.1])
    for step, way in ((0, 0), (1, 0), (10, 0), (13, 0.3), (20, 1), (500, 1)):
        np.testing.assert_allclose(schedule.at(step), (1 - way) * first + way * last, atol=1e-15)
        assert float(schedule.at(step).sum()) == pytest.approx(1, abs=1e-15)
    assert schedule.changes and not WeightSchedule(NAMES, EVEN).changes


def test_the_samplers_prior_is_that_of_the_next_step():
    mine = sampler([[1, EVEN], [5, {"a": 8, "b": 1, "c": 1}]])
    for step, expected in enumerate([1 / 3, 0.45, 17 / 30, 41 / 60, 0.8, 0.8], start=1):
        assert float(mine.prior[0]) == pytest.approx(expected, abs=1e-12)
        mine.draw_step(step, mine.prior)
    other = sampler([[1, EVEN], [5, {"a": 8, "b": 1, "c": 1}]])
    other.load_state_dict(mine.state_dict())
    assert torch.equal(other.prior, mine.prior)


def test_its_settings_are_the_weights_and_no_temperature():
    options = sampler({"a": 2, "b": 2, "c": 4}).state_dict()["options"]
    assert options["sampler.weights"] == [[0, [0.25, 0.25, 0.5]]]
    assert options["sampler.temperature"] == "none but sampler.weights"
    assert "sampler.weights" not in sampler(None).state_dict()["options"]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1, "b": 1}, "names a, b; it must name the datasets a, b, c"),
        ({**EVEN, "d": 1}, "names a, b, c, d; it must name the datasets a, b, c"),
        ({**EVEN, "b": 0}, "of dataset.b must be a number above 0, got 0"),
        ({**EVEN, "b": -1.5}, "of dataset.b must be a number above 0, got -1.5"),
        ({**EVEN, "c": "much"}, "of dataset.c must be a number above 0, got 'much'"),
        ({**EVEN, "a": float("nan")}, "of dataset.a must be a number above 0, got nan"),
        ({**EVEN, "a": True}, "of dataset.a must be a number above 0, got True"),
        ("even", "for each dataset, or pairs of a step .* got 'even'"),
        ([], r"pairs of a step .* got \[\]"),
        ([1, 2, 3], r"pairs of a step .* got \[1, 2, 3\]"),
        ([[0, EVEN], [0, EVEN]], "has step 0 after step 0"),
        ([[9, EVEN], [3, EVEN]], "has step 3 after step 9"),
        ([[0.5, EVEN]], "a step in sampler.weights must be a whole number .* got 0.5"),
    ],
    ids=str,
)
def test_what_is_no_mixture_is_refused(weights, message):
    with pytest.raises(UserError, match=f"sampler.weights.*{message}|{message}"):
        sampler(weights)
