# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
from omegaconf import OmegaConf

from mos_tune.errors import UserError
from mos_tune.scorers import (
    FixedPointScorer,
    MirrorScorer,
    MLPScorer,
    PriorBoltzmannScorer,
    UpdateSchedule,
)


@pytest.mark.parametrize("every", [1, 7, 100])
def test_a_whole_number_is_the_papers_constant(every):
    schedule = UpdateSchedule(every)
    for step in range(1, 500):
        number = step // every if step % every == 0 else None
        assert schedule.update_after(step) == number
    assert (schedule.first, schedule.frozen_after, schedule.setting()) == (every, None, every)


@pytest.mark.parametrize(
    ("pairs", "steps"),
    [
        ([[0, 20], [50, 100], [300, None]], [20, 40, 50, 150, 250]),
        ([[0, 20], [40, 100]], [20, 40, 140, 240, 340]),
        ([[0, 20], [41, 100]], [20, 40, 41, 141, 241, 341]),
        ([[0, 100], [30, 200]], [30, 230]),
        ([[0, 50], [150, 100], [160, 90]], [50, 100, 150, 160, 250, 340]),
        ([[0, 60], [100, None]], [60]),
    ],
)
def test_updates_are_numbered_one_by_one(pairs, steps):
    schedule = UpdateSchedule(pairs)
    found = [(step, schedule.update_after(step)) for step in range(1, 401)]
    expected = [(step, number) for number, step in enumerate(steps, start=1)]
    assert [one for one in found if one[1]] == [one for one in expected if one[0] <= 400]
    assert schedule.first == steps[0]
    assert schedule.setting() == str(pairs)


def test_pairs_may_come_from_a_config():
    pairs = OmegaConf.create("[[0, 20], [200, 100], [800, null]]")
    schedule = UpdateSchedule(pairs)
    assert schedule.frozen_after == 800
    assert schedule.setting() == "[[0, 20], [200, 100], [800, None]]"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "update_every must be .* got 0"),
        (True, "update_every must be .* got True"),
        ("dense", "update_every must be .* got 'dense'"),
        ([], r"update_every must be .* got \[\]"),
        ([20, 100], r"update_every must be .* pairs .* got \[20, 100\]"),
        ([[0, 20, 1]], "pairs"),
        ([[5, 20]], "must begin at 0 and rise"),
        ([[0, 20], [0, 40]], "must begin at 0 and rise"),
        ([[0, 20], [90, 40], [80, 50]], "must begin at 0 and rise"),
        ([[0, None]], "update_every must be .* got None"),
        ([[0, 20], [1.5, 40]], "a step in scorer.update_every .* got 1.5"),
        ([[0, 20], [40, None], [60, 20]], "null is for ever, and must be the last"),
        ([[0, 20], [20, None]], "null comes before the first update, step 20"),
    ],
    ids=str,
)
def test_what_is_no_schedule_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        UpdateSchedule(given)


@pytest.mark.parametrize(
    "scorer", [FixedPointScorer, MLPScorer, MirrorScorer, PriorBoltzmannScorer]
)
def test_every_scorer_takes_one_and_refuses_what_is_none(scorer):
    prior = torch.ones(2, dtype=torch.float64) / 2
    pairs = [[0, 2], [4, None]]
    assert UpdateSchedule(scorer(prior, update_every=pairs).update_every).frozen_after == 4
    with pytest.raises(UserError, match="scorer.update_every .* got 0"):
        scorer(prior, update_every=0)
