# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import math

import numpy as np
import pytest
import torch

from mos_tune.scorers import MirrorScorer

PRIOR = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
ALL = torch.ones(3, dtype=torch.bool)
PIKE = {"normalize": "first", "noise": 1 / 128, "floor": 0.0}


def learned(*updates, available=ALL, prior=PRIOR, **options):
    scorer = MirrorScorer(prior, **options)
    for rewards in updates:
        scorer.learn(torch.tensor(rewards, dtype=torch.float64), available)
    return scorer


def after(*updates, available=ALL, **options):
    return learned(*updates, available=available, **options).probabilities(available).numpy()


def log_odds(p, a, b):
    return math.log(p[a] / p[b])


@pytest.mark.parametrize("eta", [0.1, 1.0])
def test_log_odds_move_by_eta_times_the_difference(eta):
    gains = [0.7, -0.4, 0.1]
    given = after(*[gains] * 5, normalize="none", eta=eta, floor=0)
    for a, b in ((0, 1), (1, 2), (0, 2)):
        expected = log_odds(PRIOR, a, b) + 5 * eta * (gains[a] - gains[b])
        assert log_odds(given, a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("floor", [0.001, 0.05, 0.3])
def test_it_is_doremis_step(floor):
    excess, p = np.array([0.7, 0.0, 0.2]), (1 - floor) * PRIOR.numpy() + floor / 3
    for _ in range(20):
        p = p * np.exp(excess)
        p = (1 - floor) * p / p.sum() + floor / 3
    given = after(*[excess] * 20, normalize="none", eta=1, floor=floor)
    np.testing.assert_allclose(given, p, rtol=1e-12)


def test_a_constant_gap_ends_at_the_fixed_point_of_step_and_floor():
    gap, floor = 0.4, 0.1
    given = after(
        *[[gap, 0.0]] * 3000,
        prior=torch.tensor([0.5, 0.5], dtype=torch.float64),
        available=ALL[:2],
        normalize="none",
        eta=1,
        floor=floor,
    )
    # p = (1 - c) p e^d / (1 + p (e^d - 1)) + c / 2, times its denominator.
    grown = math.exp(gap) - 1
    roots = np.roots([grown, 1 - (1 - floor) * (grown + 1) - floor / 2 * grown, -floor / 2])
    assert given[0] == pytest.approx(max(roots), abs=1e-12)
    assert given[0] < 1 - floor / 2


def test_a_dataset_at_the_floor_is_back_after_a_few_good_updates():
    bad, good = [-1.0, 1.0, 1.0], [1.0, -1.0, -1.0]
    options = {"normalize": "none", "eta": 1.0, "floor": 0.03}
    assert after(*[bad] * 500, **options)[0] < 0.013
    assert after(*[bad] * 500, *[good] * 4, **options)[0] > 0.9


def test_nothing_to_gain_anywhere_leaves_the_mixture():
    for options in ({}, {"normalize": "first"}, {"normalize": "none", "eta": 1}):
        np.testing.assert_allclose(after(*[[0.0] * 3] * 5, floor=0, **options), PRIOR, rtol=1e-13)


@pytest.mark.parametrize("value", [0.3, -0.3, 1e-300])
def test_equal_gains_leave_the_mixture(value):
    np.testing.assert_allclose(after(*[[value] * 3] * 5, floor=0), PRIOR, rtol=1e-13)


def test_relative_gains_are_those_over_their_mean_less_1_clipped():
    gains = np.array([0.1, 0.2, 1.8])
    z = np.clip(gains / gains.mean() - 1, -1, 2)
    shares = PRIOR.numpy() * np.exp(0.1 * z)
    np.testing.assert_allclose(after(gains, floor=0), shares / shares.sum(), rtol=1e-13)
    outlier = after(
        [1e9, *[1.0] * 9], floor=0, prior=torch.ones(10) / 10, available=torch.ones(10) > 0
    )
    assert log_odds(outlier, 0, 1) == pytest.approx(0.1 * (2 + 1), abs=1e-6)


def test_a_negative_mean_keeps_the_order():
    given = after([-1.0, -2.0, -6.0], floor=0, eta=1)
    assert log_odds(given, 0, 1) > log_odds(PRIOR, 0, 1)
    assert log_odds(given, 1, 2) > log_odds(PRIOR, 1, 2)


def test_the_unit_of_relative_gains_does_not_matter():
    gains = np.array([0.4, -1.3, 0.7])
    np.testing.assert_allclose(after(1e-200 * gains), after(gains), rtol=1e-13)


def test_pike_goes_up_with_signal_and_down_with_noise_over_the_scale_of_the_first_update():
    first = np.array([[2.0, 128.0], [1.0, 0.0], [3.0, 256.0]])
    second = first / 4
    scale = np.mean(first[:, 0] + first[:, 1] / 128)
    z = (first + second) @ [1, -1 / 128] / scale
    shares = PRIOR.numpy() * np.exp(0.1 * z)
    np.testing.assert_allclose(after(first, second, **PIKE), shares / shares.sum(), rtol=1e-13)


def test_a_dataset_of_noise_alone_falls_geometrically_unless_noise_weighs_nothing():
    rewards = [[0.0, 64.0], [1.0, 0.0], [1.0, 0.0]]
    scale = (64 / 128 + 1 + 1) / 3
    slope = -0.1 * (64 / 128 + 1) / scale
    for updates in (1, 10, 40):
        given = after(*[rewards] * updates, **PIKE)
        expected = log_odds(PRIOR, 0, 1) + updates * slope
        assert log_odds(given, 0, 1) == pytest.approx(expected, abs=1e-11)
    # What looks like signal, since its noise is not seen, then gains.
    noisy = [[2.0, 1e4], [1.0, 0.0], [1.0, 0.0]]
    assert after(noisy, **PIKE)[0] < PRIOR[0]
    assert after(noisy, **PIKE | {"noise": 0.0})[0] > PRIOR[0]


def test_the_noise_term_is_halved_by_twice_the_batch():
    rewards = [[1.0, 64.0], [1.0, 0.0], [1.0, 0.0]]
    falls = []
    for batch in (64, 128):
        scorer = MirrorScorer(PRIOR, **PIKE | {"noise": 1 / (2 * batch)})
        scorer.scale = torch.tensor(1.0, dtype=torch.float64)
        scorer.learn(torch.tensor(rewards, dtype=torch.float64), ALL)
        given = scorer.probabilities(ALL)
        falls.append(log_odds(given, 0, 1) - log_odds(PRIOR, 0, 1))
    assert falls[0] == pytest.approx(2 * falls[1], rel=1e-12)
    assert falls[0] < 0


def test_a_memorised_dataset_loses_against_those_with_signal():
    given = after(*[[[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]] * 5, **PIKE)
    assert log_odds(given, 0, 1) < log_odds(PRIOR, 0, 1)


def test_when_all_gradients_vanish_the_mixture_rests():
    first = [[2.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    vanishing = [[1e-9, 0.0], [0.0, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(
        after(first, *[vanishing] * 50, **PIKE), after(first, **PIKE), rtol=1e-8
    )


def test_average_is_the_mean_of_the_mixtures_after_the_updates():
    updates = [[0.5, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 2.0]]
    options = {"normalize": "none", "eta": 1.0, "floor": 0.1}
    each = [after(*updates[:count], **options) for count in (1, 2, 3)]
    averaged = after(*updates, average=True, **options)
    np.testing.assert_allclose(averaged, np.mean(each, axis=0), rtol=1e-13)
    averaging = learned(*updates[:2], average=True, **options)
    assert torch.equal(averaging.log_weights, learned(*updates[:2], **options).log_weights)


def test_the_average_is_renormalized_over_what_is_left():
    left = torch.tensor([True, True, False])
    options = {"normalize": "none", "eta": 1.0, "floor": 0.1, "average": True}
    scorer = learned([0.5, 0.1, 0.0], [0.1, 0.9, 0.0], **options)
    given, all_three = scorer.probabilities(left), scorer.weight_sum
    expected = 0.9 * all_three[left] / all_three[left].sum() + 0.05
    np.testing.assert_allclose(given[left], expected, rtol=1e-13)
