# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
from torch import nn

from mos_tune.errors import UserError
from mos_tune.learning.policy import (
    check_columns,
    check_scorer,
    current_mixture,
    what_it_takes,
)
from mos_tune.rewards import DifficultyReward
from mos_tune.scorers import MLPScorer

PRIOR = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
ALL = torch.ones(3, dtype=torch.bool)


class Fixed(nn.Module):
    update_every = 1

    def __init__(self, *values):
        super().__init__()
        self.values = torch.tensor(values)

    def probabilities(self, available):
        return self.values

    def learn(self, rewards, available):
        pass


def test_a_scorer_has_all_that_it_is_asked_for():
    check_scorer("mos_tune.scorers.MLPScorer", MLPScorer(PRIOR))
    check_scorer("mine.Fixed", Fixed(1.0))
    with pytest.raises(UserError, match="mine.Linear is no scorer, .* update_every, prob.*, learn"):
        check_scorer("mine.Linear", nn.Linear(1, 1))


class TwoNumbers(DifficultyReward):
    columns = ("signal", "noise")


def test_a_reward_of_two_numbers_needs_a_scorer_that_takes_them():
    one, two, scorer = DifficultyReward(["a"]), TwoNumbers(["a"]), Fixed(1.0)
    check_columns(one, scorer)
    with pytest.raises(UserError, match=r"TwoNumbers gives 2 .*\(signal, noise\).* takes 1"):
        check_columns(two, scorer)
    scorer.columns = 2
    check_columns(one, scorer)
    check_columns(two, scorer)


def test_a_scorer_gets_negative_rewards_only_where_it_says_so():
    rewards, scorer = torch.tensor([-1.0, 2.0]), Fixed(1.0)
    assert what_it_takes(scorer, rewards).tolist() == [0, 2]
    scorer.signed = True
    assert what_it_takes(scorer, rewards).tolist() == [-1, 2]


def test_without_a_scorer_it_is_the_prior():
    assert torch.equal(current_mixture(None, PRIOR, ALL), PRIOR)
    available = torch.tensor([False, True, True])
    assert current_mixture(None, PRIOR, available).tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize("scorer", [None, MLPScorer(PRIOR)])
def test_when_all_are_used_up_nothing_is_asked(scorer):
    assert current_mixture(scorer, PRIOR, ~ALL).tolist() == [0, 0, 0]


def test_a_scorers_probabilities_are_taken_in_float64():
    given = current_mixture(Fixed(0.5, 0.5, 0.0), PRIOR, ALL)
    assert given.dtype is torch.float64 and given.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    "values",
    [
        (0.5, 0.5),
        (1.5, -0.5, 0.0),
        (0.5, float("nan"), 0.5),
        (0.5, float("inf"), 0.5),
        (0.5, 0.2, 0.2),
        (0.4, 0.4, 0.2),
    ],
)
def test_what_are_no_probabilities_is_refused(values):
    available = torch.tensor([True, True, False])
    with pytest.raises(UserError, match=r"scorer Fixed gave the probabilities \[.*there must be 3"):
        current_mixture(Fixed(*values), PRIOR, available)
