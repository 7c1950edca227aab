# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What holds for every scorer in closed form."""

import copy

import numpy as np
import pytest
import torch

from mos_tune.errors import UserError
from mos_tune.learning.policy import check_scorer, current_mixture
from mos_tune.scorers import FixedPointScorer, MirrorScorer, PriorBoltzmannScorer

SCORERS = {
    "fixed point": (FixedPointScorer, {}),
    "fixed point, steep": (FixedPointScorer, {"exponent": 2.5, "prior_exponent": 0.5}),
    "mirror": (MirrorScorer, {}),
    "mirror, no floor": (MirrorScorer, {"floor": 0.0, "eta": 1.0}),
    "mirror, DoReMi": (MirrorScorer, {"normalize": "none", "eta": 1.0, "average": True}),
    "mirror, PiKE": (MirrorScorer, {"normalize": "first", "noise": 1 / 128}),
    "boltzmann": (PriorBoltzmannScorer, {}),
    "boltzmann, first": (PriorBoltzmannScorer, {"normalize": "first"}),
    "boltzmann, none": (PriorBoltzmannScorer, {"normalize": "none"}),
}

each = pytest.mark.parametrize(("scorer", "options"), SCORERS.values(), ids=SCORERS)


def prior_of(count, seed=0):
    values = np.random.default_rng(seed).dirichlet(np.ones(count) * 2)
    return torch.tensor(values)


def rewards_of(count, options, seed=0, low=-0.5):
    shape = (count, 2) if options.get("noise") is not None else count
    return torch.tensor(np.random.default_rng(seed + 1000).uniform(low, 1.5, shape))


def all_of(count):
    return torch.ones(count, dtype=torch.bool)


@each
def test_it_is_a_scorer_and_starts_at_the_prior_with_its_floor(scorer, options):
    prior = prior_of(5)
    mine = scorer(prior, seed=1, **options)
    check_scorer("it", mine)
    floor = mine._floor
    expected = (1 - floor) * prior + floor / 5
    np.testing.assert_allclose(current_mixture(mine, prior, all_of(5)), expected, atol=1e-15)


@each
@pytest.mark.parametrize("at", [0, 1, 3])
def test_it_resumes_in_the_middle_bit_for_bit(scorer, options, at):
    mine = scorer(prior_of(4), **options)
    for seed in range(at):
        mine.learn(rewards_of(4, options, seed), all_of(4))
    saved = copy.deepcopy(mine.state_dict())
    other = scorer(prior_of(4), seed=9, **options)
    other.load_state_dict(saved)
    available = torch.tensor([True, True, False, True])
    for seed, mask in ((10, all_of(4)), (11, available), (12, available)):
        for one in (mine, other):
            one.learn(rewards_of(4, options, seed), mask)
        assert torch.equal(mine.probabilities(mask), other.probabilities(mask))


@each
def test_a_state_that_was_taken_does_not_change_later(scorer, options):
    mine = scorer(prior_of(4), **options)
    mine.learn(rewards_of(4, options, 1), all_of(4))
    taken = mine.state_dict()
    copied = copy.deepcopy(taken)
    mine.learn(rewards_of(4, options, 2), all_of(4))
    assert all(torch.equal(taken[key], copied[key]) for key in copied)


@each
def test_loading_leaves_the_rewards_that_were_learned_alone(scorer, options):
    mine = scorer(prior_of(4), **options)
    fresh, rewards = copy.deepcopy(mine.state_dict()), rewards_of(4, options)
    before = rewards.clone()
    mine.learn(rewards, all_of(4))
    mine.load_state_dict(fresh)
    assert torch.equal(rewards, before)


@each
def test_datasets_may_come_in_any_order(scorer, options):
    order = torch.tensor([3, 0, 4, 1, 2])
    prior, available = prior_of(5), torch.tensor([True, True, False, True, True])
    mine, other = scorer(prior, **options), scorer(prior[order], **options)
    for seed in range(4):
        rewards = rewards_of(5, options, seed)
        mine.learn(rewards, available)
        other.learn(rewards[order], available[order])
    np.testing.assert_allclose(
        mine.probabilities(available)[order], other.probabilities(available[order]), rtol=1e-12
    )


@each
def test_one_dataset_and_one_available(scorer, options):
    mine = scorer(torch.ones(1, dtype=torch.float64), **options)
    mine.learn(rewards_of(1, options), all_of(1))
    assert mine.probabilities(all_of(1)).tolist() == pytest.approx([1.0], abs=1e-15)
    mine, alone = scorer(prior_of(3), **options), torch.tensor([False, True, False])
    mine.learn(rewards_of(3, options), all_of(3))
    mine.learn(rewards_of(3, options, 1), alone)
    assert mine.probabilities(alone).tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-15)


@each
@pytest.mark.parametrize("tiny", [1e-6, 1e-320, 0.0])
def test_a_tiny_prior_is_no_trap(scorer, options, tiny):
    prior = torch.tensor([tiny, 0.5 - tiny, 0.5], dtype=torch.float64)
    mine = scorer(prior, **options)
    for seed in range(30):
        mine.learn(rewards_of(3, options, seed), all_of(3))
        given = current_mixture(mine, prior, all_of(3))
        assert given[0] >= mine._floor / 3 * (1 - 1e-12)


@each
def test_every_available_dataset_has_its_floor(scorer, options):
    available = torch.tensor([True, False, True, True, False])
    mine = scorer(prior_of(5), **options)
    for seed in range(30):
        mine.learn(rewards_of(5, options, seed), all_of(5) if seed < 15 else available)
    given = mine.probabilities(available)
    assert not given[~available].any()
    assert given[available].min() >= mine._floor / 3 * (1 - 1e-12)
    assert float(given.sum()) == pytest.approx(1, abs=1e-14)


@each
def test_an_exhausted_dataset_leaves_the_others_odds_as_they_are(scorer, options):
    mine = scorer(prior_of(4), **{**options, "floor": 0.0})
    for seed in range(3):
        mine.learn(rewards_of(4, options, seed, low=0.1), all_of(4))
    left = torch.tensor([True, True, False, True])
    before, after = mine.probabilities(all_of(4))[left], mine.probabilities(left)[left]
    np.testing.assert_allclose(after, before / before.sum(), rtol=1e-13)


@each
def test_rewards_of_unavailable_datasets_do_not_count(scorer, options):
    left = torch.tensor([True, False, True])
    mine, other = scorer(prior_of(3), **options), scorer(prior_of(3), **options)
    rewards = rewards_of(3, options)
    wild = rewards.clone()
    wild[1] = 1e6
    mine.learn(rewards, left)
    other.learn(wild, left)
    assert torch.equal(mine.probabilities(left), other.probabilities(left))


@each
def test_a_thousand_datasets(scorer, options):
    mine = scorer(prior_of(1000), **options)
    for seed in range(20):
        mine.learn(rewards_of(1000, options, seed), all_of(1000))
    assert float(mine.probabilities(all_of(1000)).sum()) == pytest.approx(1, abs=1e-12)
    assert sum(part.numel() for part in mine.state_dict().values()) <= 2002


@each
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rewards_must_be_finite(scorer, options, bad):
    rewards = rewards_of(3, options)
    rewards[1] = bad
    with pytest.raises(ValueError, match="rewards must be finite"):
        scorer(prior_of(3), **options).learn(rewards, all_of(3))


@each
def test_no_dataset_available(scorer, options):
    with pytest.raises(ValueError, match="no dataset is available"):
        scorer(prior_of(3), **options).probabilities(~all_of(3))


@each
def test_rewards_of_another_shape_are_refused(scorer, options):
    rewards = torch.ones(3) if "noise" in options else torch.ones(3, 2)
    with pytest.raises(UserError, match="but the reward gives [12]"):
        scorer(prior_of(3), **options).learn(rewards, all_of(3))


@pytest.mark.parametrize(
    ("scorer", "option", "value"),
    [
        (FixedPointScorer, "floor", -0.1),
        (MirrorScorer, "floor", 1),
        (PriorBoltzmannScorer, "floor", None),
        (FixedPointScorer, "exponent", 0),
        (FixedPointScorer, "exponent", -1),
        (FixedPointScorer, "prior_exponent", "all"),
        (MirrorScorer, "eta", 0),
        (MirrorScorer, "normalize", "minmax"),
        (MirrorScorer, "noise", -1),
        (MirrorScorer, "average", 1),
        (PriorBoltzmannScorer, "beta", -1),
        (PriorBoltzmannScorer, "decay", 1),
        (PriorBoltzmannScorer, "normalize", "relative"),
    ],
    ids=str,
)
def test_bad_options_name_key_and_value(scorer, option, value):
    with pytest.raises(UserError, match=f"scorer.{option} .*{value}"):
        scorer(prior_of(2), **{option: value})
