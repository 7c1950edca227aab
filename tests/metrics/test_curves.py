# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest

from mos_tune.errors import UserError
from mos_tune.metrics.curves import MEAN, NotBegun, read_curves

START = {"event": "start", "step": 0, "names": ["a", "b"], "probabilities": {"a": 0.5, "b": 0.5}}
VALIDATION = {"event": "validation", "step": 4, "losses": {"a": 2.0, "b": 4.0}, "mean": 3.0}


def update(step, a):
    return {
        "event": "update",
        "step": step,
        "probabilities": {"a": a, "b": 1 - a},
        "rewards": {"a": 1.0, "b": 2.0},
        "raw_rewards": {"a": 1.5, "b": 2.5},
    }


@pytest.fixture
def write(tmp_path):
    def write_lines(*events):
        path = tmp_path / "mixture.jsonl"
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write_lines


def test_every_event_lands_on_its_curve(write):
    end = {"event": "end", "step": 5, "average_probabilities": {"a": 0.55, "b": 0.45}}
    run = read_curves(write(START, update(2, 0.6), VALIDATION, end))
    assert run.names == ["a", "b"]
    assert run.last_step == 5
    assert run.probabilities == [(0, {"a": 0.5, "b": 0.5}), (2, {"a": 0.6, "b": 0.4})]
    assert run.rewards == [(2, {"a": 1.0, "b": 2.0})]
    assert run.raw_rewards == [(2, {"a": 1.5, "b": 2.5})]
    assert run.losses == [(4, {"a": 2.0, "b": 4.0, MEAN: 3.0})]
    assert run.finished and run.average_probabilities == {"a": 0.55, "b": 0.45}


def test_a_draw_takes_an_example_unless_datasets_are_packed(write):
    sizes = {"a": 9, "b": 7}
    alone = START | {"sizes": sizes, "draws_per_epoch": sizes}
    assert read_curves(write(alone)).unit == "examples"
    packed = START | {"sizes": sizes, "draws_per_epoch": sizes | {"b": 2}}
    assert read_curves(write(packed)).unit == "sequences"


def test_one_dataset_has_no_separate_mean(write):
    start = START | {"names": ["a"], "probabilities": {"a": 1.0}}
    run = read_curves(write(start, VALIDATION | {"losses": {"a": 2.0}, "mean": 2.0}))
    assert run.losses == [(4, {"a": 2.0})]


def test_steps_logged_again_by_a_resumed_run_count_once(write):
    run = read_curves(write(START, update(2, 0.6), update(4, 0.7), update(2, 0.8)))
    assert [step for step, _ in run.probabilities] == [0, 2]
    assert run.probabilities[-1][1]["a"] == 0.8
    assert run.last_step == 2


def test_a_dataset_that_is_used_up_counts_until_the_update_of_that_step(write):
    used_up = {"event": "used_up", "datasets": ["a"], "probabilities": {"a": 0.0, "b": 1.0}}
    run = read_curves(write(START, used_up | {"step": 3}, used_up | {"step": 4}, update(4, 0.1)))
    expected = [(0, 0.5), (3, 0.0), (4, 0.1)]
    assert [(step, shares["a"]) for step, shares in run.probabilities] == expected


def test_torn_last_line_is_ignored(write):
    run = read_curves(write(START, update(2, 0.6), json.dumps(update(4, 0.7))[:50]))
    assert run.last_step == 2 and not run.finished
    path = write(START | {"names": ["数学"], "probabilities": {"a": 1.0}})
    whole = json.dumps(update(4, 0.7) | {"event": "数学"}, ensure_ascii=False).encode()
    path.write_bytes(path.read_bytes() + b"\n" + whole[: whole.index("学".encode()) + 1])
    assert read_curves(path).names == ["数学"]


def test_broken_line_is_named(write):
    path = write(START, '{"event": "upd', update(4, 0.7))
    with pytest.raises(UserError, match="mixture.jsonl, line 2: "):
        read_curves(path)


@pytest.mark.parametrize("line", ["[1]", "3", '{"event": "update", "step": 2}', "{}"])
def test_line_that_is_no_event_is_named(write, line):
    with pytest.raises(UserError, match="mixture.jsonl, line 2: expected a mixture event"):
        read_curves(write(START, line))


def test_file_without_events(write):
    for lines in ([], [json.dumps(START)[:9]]):
        with pytest.raises(NotBegun, match="expected a start event in line 1"):
            read_curves(write(*lines))


def test_missing_file(tmp_path):
    with pytest.raises(NotBegun, match="cannot read .*mixture.jsonl: No such file"):
        read_curves(tmp_path / "mixture.jsonl")


def test_probabilities_in_another_unit(write):
    lengths = {"tokens": {"a": 10, "b": 20}, "response_tokens": {"a": 9, "b": 1}}
    gone = {"event": "used_up", "step": 9, "probabilities": {"a": 0.0, "b": 0.0}}
    in_draws = read_curves(write(START | {"lengths": lengths}, update(4, 0.25), gone))
    assert in_draws.share_of == "sequences"
    assert in_draws.shares("response_tokens") == [
        (0, {"a": 0.9, "b": 0.1}),
        (4, {"a": 0.75, "b": 0.25}),
        (9, {"a": 0.0, "b": 0.0}),
    ]
    in_tokens = read_curves(write(START | {"lengths": lengths, "unit": "tokens"}))
    assert in_tokens.shares("sequences") == [(0, pytest.approx({"a": 2 / 3, "b": 1 / 3}))]
    assert in_tokens.shares("tokens") == in_tokens.probabilities
