# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import numpy as np
import pytest
import torch

from mos_tune.scorers import FixedPointScorer

PRIOR = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
ALL = torch.ones(3, dtype=torch.bool)


def after(*updates, available=ALL, prior=PRIOR, **options):
    scorer = FixedPointScorer(prior, **options)
    for rewards in updates:
        scorer.learn(torch.tensor(rewards, dtype=torch.float64), available)
    return scorer.probabilities(available).numpy()


@pytest.mark.parametrize("floor", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("prior_exponent", [0.0, 0.5, 1.0])
def test_closed_form(floor, exponent, prior_exponent):
    rewards = np.array([0.4, 1.3, 0.7])
    shares = PRIOR.numpy() ** prior_exponent * (rewards / rewards.mean()) ** exponent
    expected = floor / 3 + (1 - floor) * shares / shares.sum()
    options = {"floor": floor, "exponent": exponent, "prior_exponent": prior_exponent}
    np.testing.assert_allclose(after(rewards, **options), expected, rtol=1e-13)


def test_closed_form_over_the_available_ones():
    left = torch.tensor([True, False, True])
    shares = np.array([0.5 * 0.4, 0, 0.2 * 0.7])
    expected = 0.95 * shares / shares.sum() + 0.05 / 2 * left.numpy()
    np.testing.assert_allclose(after([0.4, 9.0, 0.7], available=left), expected, rtol=1e-13)


def test_without_prior_and_floor_it_is_where_the_perceptron_goes():
    given = after([0.2, 0.3, 0.5], prior_exponent=0, floor=0)
    np.testing.assert_allclose(given, [0.2, 0.3, 0.5], rtol=1e-13)


@pytest.mark.parametrize("value", [1e-300, 1.0, 1e300, 0.0, -2.0])
def test_equal_rewards_leave_the_prior(value):
    np.testing.assert_allclose(after([value] * 3, floor=0), PRIOR, rtol=1e-13)


def test_a_reward_of_0_or_below_gives_the_floor():
    given = after([1.0, 0.0, -5.0], floor=0.06)
    np.testing.assert_allclose(given, [0.96, 0.02, 0.02], rtol=1e-13)
    assert after([1.0, 0.0, -5.0], floor=0).tolist() == [1.0, 0.0, 0.0]


def test_where_none_is_above_0_all_count_as_equal():
    np.testing.assert_allclose(after([0.0, -1.0, -3.0], floor=0), PRIOR, rtol=1e-13)


def test_an_outlier_decides_one_update_and_no_later_one():
    usual = [1.0, 0.9, 1.1]
    assert after(usual, [1000.0, 0.9, 1.1], floor=0.06)[0] > 0.95
    assert np.array_equal(after(usual, [1000.0, 0.9, 1.1], usual), after(usual))


@pytest.mark.parametrize("scale", [1e-290, 1e-12, 1e290])
def test_the_unit_of_the_rewards_does_not_matter(scale):
    rewards = np.array([0.4, 1.3, 0.7])
    np.testing.assert_allclose(after(scale * rewards), after(rewards), rtol=1e-11)
