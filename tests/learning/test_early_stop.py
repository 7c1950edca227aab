# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from helpers.small_runs import NAMES, SmallRun

from mos_tune.errors import UserError
from mos_tune.learning import EarlyStop


def stops(curves, **options):
    """The first step at which each dataset is due, of one loss for every tenth step."""
    stop, found = EarlyStop(list(curves), **options), {}
    for number, losses in enumerate(zip(*curves.values(), strict=True)):
        due = stop.due(10 * number, dict(zip(curves, losses, strict=True)))
        found |= {name: (10 * number, best) for name, best in due.items() if name not in found}
    return found


def test_scripted_curves_are_due_at_exact_steps():
    curves = {
        "falls": [9, 8, 7, 6, 5, 4, 3, 2],
        "overfits": [9, 5, 6, 7, 8, 9, 9, 9],
        "rests": [9, 8, 8, 8, 8, 8, 8, 8],
        "one bad point": [9, 8, 9, 9, 7, 6, 5, 4],
        "from the start": [1, 2, 3, 4, 5, 6, 7, 8],
    }
    expected = {"overfits": (40, 10), "rests": (40, 10), "from the start": (30, 0)}
    assert stops(curves, patience=3) == expected
    assert stops(curves, patience=2)["one bad point"] == (30, 10)


def test_noise_below_min_delta_is_no_new_best_and_a_slow_fall_is_one():
    noisy = [5.0, 4.96, 5.02, 4.93, 5.01]
    assert stops({"a": noisy}, patience=3, min_delta=0.1) == {"a": (30, 0)}
    assert stops({"a": noisy}, patience=3) == {}
    # Against the best, and not the last one: many small steps add up.
    assert stops({"a": [5.0, 4.94, 4.88, 4.82, 4.76]}, patience=3, min_delta=0.1) == {}


def test_the_longest_past_best_comes_first():
    stop = EarlyStop(["a", "b"], patience=1)
    stop.due(0, {"a": 5.0, "b": 3.0})
    stop.due(1, {"a": 4.0, "b": 3.5})
    assert list(stop.due(2, {"a": 4.5, "b": 3.5}).items()) == [("b", 0), ("a", 1)]


@pytest.mark.parametrize(
    ("option", "value"), [("patience", 0), ("patience", 1.5), ("min_delta", -1), ("min_delta", "x")]
)
def test_bad_options_name_key_and_value(option, value):
    with pytest.raises(UserError, match=f"early_stop.{option} must be .* got '?{value}"):
        EarlyStop(["a"], **{option: value})


def run_of(folder, steps=20, **options):
    # No loss falls by 10 nats, so that all are due at the second measurement after the start.
    stop = EarlyStop(NAMES, patience=2, min_delta=10.0)
    return SmallRun(folder, steps=steps, early_stop=stop, validate_every=3, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("whole")).run()


def drawn_after(run, step):
    return {name for examples in run.examples()[step:] for name, _ in examples}


def test_all_but_the_last_one_are_stopped_and_drawn_no_more(run):
    (event,) = run.events("early_stop")
    assert event["step"] == 6
    assert event["best"] == {NAMES[0]: 0, NAMES[1]: 0}
    assert event["probabilities"] == {NAMES[0]: 0.0, NAMES[1]: 0.0, NAMES[2]: 1.0}
    assert drawn_after(run, 6) == {NAMES[2]}
    assert {name for examples in run.examples()[:6] for name, _ in examples} == set(NAMES)
    assert not run.events("used_up")


def test_what_the_rest_of_the_run_needs_is_not_stopped(tmp_path):
    run = run_of(tmp_path, few={NAMES[2]: 30}).run()
    (event,) = run.events("early_stop")
    # Without the second, the third would have to last for 14 steps; without itself, nothing lacks.
    assert list(event["best"]) == [NAMES[0], NAMES[2]]
    assert drawn_after(run, 6) == {NAMES[1]}


@pytest.mark.parametrize("until", [2, 3, 5, 6, 11])
def test_it_resumes_bit_for_bit(run, tmp_path, until):
    state = run_of(tmp_path).run(until=until)
    resumed = run_of(tmp_path).run(resume=state)
    assert resumed.examples() == run.examples()
    assert resumed.events("early_stop") == run.events("early_stop")


def test_a_state_of_an_earlier_version_resumes(tmp_path):
    state = run_of(tmp_path).run(until=2)
    del state["early_stop"], state["sampler"]["stopped"]
    assert run_of(tmp_path).run(resume=state).controller.step == 20


def test_passes_come_with_the_held_out_losses(run):
    for event in run.events("validation"):
        counts = dict.fromkeys(NAMES, 0)
        for examples in run.examples()[: event["step"]]:
            for name, _ in examples:
                counts[name] += 1
        assert event["epochs"] == {name: count / 500 for name, count in counts.items()}
