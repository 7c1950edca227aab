# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import math

import numpy as np
import pytest
import torch

from mos_tune.scorers import PriorBoltzmannScorer

PRIOR = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
ALL = torch.ones(4, dtype=torch.bool)
START = 0.7 * PRIOR.numpy() + 0.3 / 4


def learned(rewards, updates=1, available=ALL, **options):
    scorer = PriorBoltzmannScorer(PRIOR, **options)
    for _ in range(updates):
        scorer.learn(torch.tensor(rewards, dtype=torch.float64), available)
    return scorer


def tilted(values, beta=4.0, floor=0.3):
    shares = PRIOR.numpy() * np.exp(beta * np.asarray(values))
    return (1 - floor) * shares / shares.sum() + floor / 4


def test_without_an_update_or_a_tilt_it_is_the_static_control():
    np.testing.assert_allclose(learned([], 0).probabilities(ALL), START, rtol=1e-14)
    for scorer in (learned([3, 1, 2, 0], 50, beta=0.0), learned([0.7] * 4, 50)):
        np.testing.assert_allclose(scorer.probabilities(ALL), START, rtol=1e-14)


@pytest.mark.parametrize("updates", [1, 8, 45, 400])
def test_constant_rewards_in_closed_form(updates):
    rewards = [0.2, 1.2, 0.7, 0.45]
    scaled = np.array([0.0, 1.0, 0.5, 0.25])
    scorer = learned(rewards, updates)
    values = (1 - 0.95**updates) * scaled
    np.testing.assert_allclose(scorer.values, values, rtol=1e-12)
    np.testing.assert_allclose(scorer.probabilities(ALL), tilted(values), rtol=1e-12)
    if updates == 400:
        np.testing.assert_allclose(scorer.probabilities(ALL), tilted(scaled), atol=1e-6)
    if updates in (8, 45):
        assert values[1] == pytest.approx({8: 0.34, 45: 0.90}[updates], abs=0.005)


def test_odds_over_the_priors_are_at_most_e_to_the_beta():
    given = learned([0, 1, 1e6, -1e6], 2000, floor=0.0).probabilities(ALL)
    tilt = given / PRIOR
    assert math.log(tilt.max() / tilt.min()) == pytest.approx(4, abs=1e-6)


def test_rewards_of_noise_alone_wander_about_the_static_control():
    scorer, generator = PriorBoltzmannScorer(PRIOR), torch.Generator().manual_seed(0)
    given = []
    for _ in range(20_000):
        scorer.learn(torch.rand(4, generator=generator, dtype=torch.float64), ALL)
        given.append(scorer.probabilities(ALL))
    given = torch.stack(given)
    np.testing.assert_allclose(given.mean(dim=0), START, atol=0.03)
    spread = given[1000:].std(dim=0)
    assert spread.min() > 0.01 and spread.max() < 0.065


@pytest.mark.parametrize("scale", [1e-300, 1e-10, 1e10])
def test_minmax_does_not_depend_on_scale_or_offset(scale):
    rewards = np.array([1.0, 4.0, 2.0, 8.0])
    np.testing.assert_allclose(
        learned(scale * rewards).values, learned(rewards + 3).values, rtol=1e-12
    )


def test_first_goes_quiet_as_the_rewards_do_and_minmax_does_not():
    rewards, quiet = [0.2, 1.2, 0.7, 0.45], [2e-9, 1.2e-8, 7e-9, 4.5e-9]
    for normalize, rests in (("first", True), ("minmax", False)):
        scorer = learned(rewards, normalize=normalize)
        for _ in range(300):
            scorer.learn(torch.tensor(quiet, dtype=torch.float64), ALL)
        away = np.abs(scorer.probabilities(ALL).numpy() - START).max()
        assert bool(away < 1e-6) is rests


def test_first_divides_by_the_largest_reward_of_the_first_update_that_has_one():
    scorer = learned([0.0] * 4, normalize="first")
    assert scorer.scale == 0
    for rewards in ([0.2, -1.6, 0.8, 0.4], [3.2, 0.0, 0.0, 0.0]):
        scorer.learn(torch.tensor(rewards, dtype=torch.float64), ALL)
    assert scorer.scale == 1.6
    expected = 0.95 * 0.05 * np.array([0.125, -1, 0.5, 0.25]) + 0.05 * np.array([2.0, 0, 0, 0])
    np.testing.assert_allclose(scorer.values, expected, rtol=1e-12)


def test_scaling_is_over_the_available_ones():
    left = torch.tensor([True, True, True, False])
    scorer = learned([1.0, 3.0, 2.0, 99.0], available=left)
    np.testing.assert_allclose(scorer.values, 0.05 * np.array([0, 1, 0.5, 0]), rtol=1e-12)
