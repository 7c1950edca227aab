# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import copy

import numpy as np
import pytest
import torch

from mos_tune.errors import UserError
from mos_tune.scorers import MLPScorer


def random_prior(count, seed):
    values = np.random.default_rng(seed).dirichlet(np.ones(count) * 2)
    return torch.tensor(np.maximum(values, 1e-4) / np.maximum(values, 1e-4).sum())


def random_rewards(count, seed):
    return torch.tensor(np.random.default_rng(seed + 1000).uniform(0.05, 1.5, count))


@pytest.mark.parametrize("hidden_dim", [None, 64])
@pytest.mark.parametrize("count", [1, 2, 4, 100])
def test_starts_exactly_at_the_prior(count, hidden_dim):
    prior = random_prior(count, count)
    scorer = MLPScorer(prior, hidden_dim=hidden_dim)
    np.testing.assert_allclose(scorer.probabilities(), prior, atol=1e-12, rtol=0)


@pytest.mark.parametrize("hidden_dim", [None, 64])
@pytest.mark.parametrize("count", [1, 2, 4, 100])
@pytest.mark.parametrize("seed", range(3))
def test_fixed_point_is_the_normalised_reward_from_any_prior(count, seed, hidden_dim):
    rewards = random_rewards(count, seed)
    scorer = MLPScorer(random_prior(count, seed), hidden_dim=hidden_dim, lr=1e-2)
    for _ in range(15):
        scorer.learn(rewards)
    # Adam circles a minimum at a distance of the order of its learning rate: lower it to end there.
    for group in scorer._optimizer.param_groups:
        group["lr"] = 1e-4
    for _ in range(5):
        scorer.learn(rewards)
    np.testing.assert_allclose(scorer.probabilities(), rewards / rewards.sum(), atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 4, 100])
def test_equal_rewards_end_uniform(count):
    scorer = MLPScorer(random_prior(count, 7))
    for _ in range(30):
        scorer.learn(torch.full((count,), 0.3))
    np.testing.assert_allclose(scorer.probabilities(), 1 / count, atol=2e-4)


def test_one_step_of_free_logits_is_equation_6():
    prior, rewards, gamma = random_prior(4, 0), random_rewards(4, 0), 0.05
    scorer = MLPScorer(prior, hidden_dim=None, inner_steps=1, optimizer="sgd", lr=gamma)
    scorer.learn(rewards)
    # d/dlogits of sum_i R_i log p_i is R - p * sum(R).
    logits = np.log(prior.numpy()) + gamma * (rewards - prior * rewards.sum()).numpy()
    np.testing.assert_allclose(
        scorer.probabilities(), np.exp(logits) / np.exp(logits).sum(), atol=1e-12, rtol=0
    )


def test_one_perceptron_step_follows_the_numerical_gradient():
    prior, rewards = random_prior(3, 1), random_rewards(3, 1)
    scorer = MLPScorer(prior, hidden_dim=5, inner_steps=1, optimizer="sgd", lr=1.0)
    scorer.learn(rewards)  # leave the start, where the first layer's gradient is 0
    before = [p.detach().clone() for p in scorer.parameters()]

    def objective():
        return float((rewards * scorer.probabilities().log()).sum())

    expected = []
    for parameter in scorer.parameters():
        gradient = torch.zeros_like(parameter)
        for place in np.ndindex(*parameter.shape):
            with torch.no_grad():
                parameter[place] += 1e-6
                up = objective()
                parameter[place] -= 2e-6
                gradient[place] = (up - objective()) / 2e-6
                parameter[place] += 1e-6
        expected.append(gradient)
    scorer.learn(rewards)
    for parameter, old, gradient in zip(scorer.parameters(), before, expected, strict=True):
        torch.testing.assert_close(parameter.detach() - old, gradient, atol=1e-7, rtol=1e-5)


def test_one_default_update_gets_near_the_fixed_point():
    prior, rewards = torch.full((4,), 0.25, dtype=torch.float64), random_rewards(4, 3)
    target = rewards / rewards.sum()
    scorer = MLPScorer(prior)
    scorer.learn(rewards)
    left = (scorer.probabilities() - target).abs().sum() / (prior - target).abs().sum()
    assert left < 0.001


def test_free_logits_move_at_most_lr_times_inner_steps():
    scorer = MLPScorer(torch.full((4,), 0.25), hidden_dim=None)
    scorer.learn(torch.tensor([1.0, 0.5, 0.2, 0.1]))
    moved = (scorer.bias.detach() - np.log(0.25)).abs()
    assert moved.max() <= 0.02 + 1e-9
    assert moved.max() > 0.015


@pytest.mark.parametrize("hidden_dim", [None, 64])
def test_an_unavailable_dataset_has_probability_0_and_the_rest_is_renormalized(hidden_dim):
    prior = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    available = torch.tensor([True, False, True])
    scorer = MLPScorer(prior, hidden_dim=hidden_dim, lr=1e-3)
    if hidden_dim is None:
        np.testing.assert_allclose(scorer.probabilities(available), [0.625, 0, 0.375], atol=1e-12)
    rewards = torch.tensor([0.2, 0.9, 0.6])
    for _ in range(20):
        scorer.learn(rewards, available)
    np.testing.assert_allclose(scorer.probabilities(available), [0.25, 0, 0.75], atol=1e-3)
    assert scorer.probabilities(available)[1] == 0
    assert scorer.probabilities()[1] > 0


def test_the_perceptron_sees_which_datasets_are_available():
    prior = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    available = torch.tensor([True, False, True])
    scorer = MLPScorer(prior)
    scorer.learn(torch.tensor([0.2, 0.9, 0.6]))
    with_all = scorer.probabilities()
    renormalized = with_all * available / with_all[available].sum()
    assert (scorer.probabilities(available) - renormalized).abs().max() > 1e-2


def test_one_dataset_must_be_available():
    with pytest.raises(ValueError, match="no dataset is available"):
        MLPScorer(torch.ones(2) / 2).probabilities(torch.zeros(2, dtype=torch.bool))


def test_a_zero_reward_drives_its_dataset_towards_0():
    scorer = MLPScorer(torch.ones(2, dtype=torch.float64) / 2, lr=1e-3)
    for _ in range(5):
        scorer.learn(torch.tensor([0.0, 1.0]))
    assert scorer.probabilities()[0] < 0.01
    assert torch.isfinite(scorer.probabilities()).all()


@pytest.mark.parametrize("hidden_dim", [None, 64])
def test_a_restored_scorer_resumes_bit_for_bit(hidden_dim):
    prior = random_prior(4, 0)
    scorer = MLPScorer(prior, hidden_dim=hidden_dim, seed=5)
    scorer.learn(random_rewards(4, 0))
    other = MLPScorer(prior, hidden_dim=hidden_dim, seed=6)
    other.load_state_dict(copy.deepcopy(scorer.state_dict()))
    for seed in (1, 2):
        scorer.learn(random_rewards(4, seed))
        other.learn(random_rewards(4, seed))
    assert torch.equal(scorer.probabilities(), other.probabilities())


def test_another_optimizers_state_is_refused_and_another_lr_taken():
    prior = random_prior(4, 0)
    saved = MLPScorer(prior).state_dict()
    with pytest.raises(UserError, match="scorer.optimizer is SGD, the checkpoint has Adam"):
        MLPScorer(prior, optimizer="sgd").load_state_dict(saved)
    faster = MLPScorer(prior, lr=1e-2)
    faster.load_state_dict(saved)
    assert faster._optimizer.param_groups[0]["lr"] == 1e-2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("update_every", 0),
        ("update_every", 2.5),
        ("inner_steps", 0),
        ("hidden_dim", 0),
        ("lr", 0.0),
        ("lr", "fast"),
        ("optimizer", "lbfgs"),
    ],
)
def test_bad_options_name_key_and_value(option, value):
    with pytest.raises(UserError, match=f"scorer.{option} .*{value}"):
        MLPScorer(torch.ones(2) / 2, **{option: value})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rewards_must_be_finite(bad):
    with pytest.raises(ValueError, match="rewards must be finite"):
        MLPScorer(torch.ones(2) / 2).learn(torch.tensor([0.5, bad]))


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        (
            torch.tensor([0.5, -0.25]),
            r"not negative, got \[0.5, -0.25\]; MirrorScorer takes signed",
        ),
        (torch.ones(2, 2), "MLPScorer learns from one number per dataset, .* gives 2"),
    ],
)
def test_signed_rewards_and_several_need_another_scorer(rewards, message):
    with pytest.raises(UserError, match=message):
        MLPScorer(torch.ones(2) / 2).learn(rewards)


def learned(rewards, **options):
    scorer = MLPScorer(torch.full((4,), 0.25, dtype=torch.float64), **options)
    for one in rewards:
        scorer.learn(torch.tensor(one, dtype=torch.float64))
    return scorer


USUAL = [1.0, 0.9, 1.1, 1.0]


def test_an_outlier_stays_in_adams_memory():
    with_it = [USUAL, USUAL, [150.0, *USUAL[1:]]]
    assert learned(with_it).probabilities()[0] > 0.95
    assert learned([*with_it, *[USUAL] * 6]).probabilities()[0] > 0.28


def test_rewards_below_adams_epsilon_teach_nothing():
    scaled = learned([[1e-12 * reward for reward in (0.1, 0.2, 0.3, 0.4)]]).probabilities()
    np.testing.assert_allclose(scaled, [0.25] * 4, atol=0.02)


def test_plain_gradient_steps_get_the_rewards_as_they_are():
    options = {"optimizer": "sgd", "inner_steps": 1, "hidden_dim": None, "lr": 1.0}
    moved = learned([[1e-12, 0, 0, 0]], **options).probabilities()[0] - 0.25
    # d p_0 = lr * (R - p sum R) projected by the softmax's Jacobian.
    assert float(moved) == pytest.approx(0.25 * 0.75 * 1e-12, rel=1e-3)


def test_rewards_that_are_all_0_teach_nothing():
    assert learned([[0.0] * 4]).probabilities().tolist() == [0.25] * 4


def test_when_a_dataset_is_exhausted_the_perceptron_jumps_towards_the_prior():
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    left = torch.tensor([True, True, True, False])
    jumps = {}
    for hidden_dim in (256, None):
        scorer = MLPScorer(prior, hidden_dim=hidden_dim)
        for _ in range(3):
            scorer.learn(torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64))
        kept = scorer.probabilities() * left
        kept, start = kept / kept.sum(), prior * left / prior[left].sum()
        moved, way = scorer.probabilities(left) - kept, start - kept
        jumps[hidden_dim] = float(moved @ way / (way @ way))
    assert 0.1 < jumps[256] < 0.5
    assert abs(jumps[None]) < 1e-12


def test_an_updates_cost_grows_with_the_number_of_datasets():
    scorer = MLPScorer(torch.full((1000,), 1e-3, dtype=torch.float64))
    numbers = sum(parameter.numel() for parameter in scorer.parameters())
    assert numbers == 2 * 1000 * 256 + 1000 + 256
