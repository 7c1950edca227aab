# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A mixture that is learned at a schedule's steps, and then stays."""

import copy

import numpy as np
import pytest
from helpers.small_runs import NAMES, SmallRun

from mos_tune.errors import UserError
from mos_tune.metrics.curves import read_curves
from mos_tune.scorers import FixedPointScorer, MLPScorer

SCHEDULE = [[0, 2], [6, 4], [15, None]]


def scheduled(folder, every=SCHEDULE, kind=FixedPointScorer, **options):
    return SmallRun(
        folder, steps=20, scorer=lambda prior: kind(prior, update_every=every), **options
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return scheduled(tmp_path_factory.mktemp("whole")).run()


def test_updates_follow_the_schedule(run):
    assert [event["step"] for event in run.events("update")] == [2, 4, 6, 10, 14]


def test_it_stays_at_the_average_over_the_steps(run):
    (start,), updates, (frozen,) = map(run.events, ("start", "update", "frozen"))
    assert frozen["step"] == 15
    held = [start, *updates]
    ends = [*(event["step"] for event in updates), 15]
    steps = np.diff([0, *ends])
    for name in NAMES:
        mean = np.dot(steps, [event["probabilities"][name] for event in held]) / 15
        assert frozen["probabilities"][name] == pytest.approx(mean, abs=1e-12)
    (end,) = run.events("end")
    assert end["average_probabilities"] == pytest.approx(frozen["probabilities"], abs=1e-12)
    assert read_curves(run.folder / "mixture.jsonl").probabilities[-1] == (
        15,
        frozen["probabilities"],
    )


@pytest.mark.parametrize("until", [5, 14, 15, 17])
def test_it_resumes_bit_for_bit(run, tmp_path, until):
    state = scheduled(tmp_path).run(until=until)
    resumed = scheduled(tmp_path).run(resume=copy.deepcopy(state))
    assert resumed.examples() == run.examples()
    assert resumed.controller.probabilities().equal(run.controller.probabilities())


def test_probes_are_a_function_of_the_updates_number(run, tmp_path):
    dense = scheduled(tmp_path, every=2).run()
    # The reward counts tokens of the probes, and is not of what was trained on.
    sparse = [event["raw_rewards"] for event in run.events("update")]
    assert sparse == [event["raw_rewards"] for event in dense.events("update")][: len(sparse)]


def test_another_schedule_is_refused_on_resume(tmp_path):
    state = scheduled(tmp_path).run(until=5)
    with pytest.raises(
        UserError,
        match=r"scorer.update_every is 2, the checkpoint has \[\[0, 2\], \[6, 4\], .*None",
    ):
        scheduled(tmp_path, every=2).run(resume=state)


def test_a_state_of_an_earlier_version_resumes(tmp_path):
    state = scheduled(tmp_path, every=4, kind=MLPScorer).run(until=5)
    del state["frozen"]
    assert scheduled(tmp_path, every=4, kind=MLPScorer).run(resume=state).controller.step == 20


def test_what_is_exhausted_later_leaves_the_frozen_mixture(tmp_path):
    few = {"sort": 40}
    run = scheduled(tmp_path, every=[[0, 1], [2, None]], few=few).run()
    (frozen,), (gone,) = run.events("frozen"), run.events("used_up")
    assert gone["step"] > 2 and gone["probabilities"]["sort"] == 0
    left = 1 - frozen["probabilities"]["sort"]
    for name in ("repeat", "reverse"):
        expected = frozen["probabilities"][name] / left
        assert gone["probabilities"][name] == pytest.approx(expected, abs=1e-12)


CHANGING = {
    "weights": [[2, dict.fromkeys(NAMES, 1)], [12, {**dict.fromkeys(NAMES, 1), NAMES[0]: 8}]]
}


def test_a_mixture_that_changes_from_step_to_step(tmp_path):
    run = SmallRun(tmp_path / "whole", steps=15, sampler=CHANGING).run()
    firsts = [event["probabilities"][NAMES[0]] for event in run.events("scheduled")]
    expected = np.interp(range(2, 17), [2, 12], [1 / 3, 0.8])
    assert firsts == pytest.approx(expected.tolist(), abs=1e-12)
    (end,) = run.events("end")
    mean = np.interp(range(1, 16), [2, 12], [1 / 3, 0.8]).mean()
    assert end["average_probabilities"][NAMES[0]] == pytest.approx(mean, abs=1e-12)
    state = SmallRun(tmp_path / "halted", steps=15, sampler=CHANGING).run(until=7)
    resumed = SmallRun(tmp_path / "halted", steps=15, sampler=CHANGING).run(resume=state)
    assert resumed.examples() == run.examples()
    assert resumed.events("scheduled") == run.events("scheduled")


def test_other_weights_are_refused_on_resume(tmp_path):
    state = SmallRun(tmp_path, steps=15, sampler=CHANGING).run(until=3)
    with pytest.raises(
        UserError, match="temperature is inf, the checkpoint has none but sampler.weights"
    ):
        SmallRun(tmp_path, steps=15).run(resume=state)


def test_a_given_mixture_is_what_learning_starts_from(tmp_path):
    weights = {"weights": dict(zip(NAMES, (5, 3, 2), strict=True))}
    run = scheduled(tmp_path, sampler=weights).run()
    (start,) = run.events("start")
    expected = [0.95 * share + 0.05 / 3 for share in (0.5, 0.3, 0.2)]
    assert list(start["probabilities"].values()) == pytest.approx(expected, abs=1e-12)
