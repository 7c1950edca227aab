# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest
from helpers.evaluation import EVENTS

from mos_tune.errors import UserError
from mos_tune.evaluation.checkpoint import run_name, step_and_mixture


def run(directory, events, epochs):
    for epoch in range(epochs):
        (directory / f"epoch_{epoch}").mkdir(parents=True)
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    (directory / "mixture.jsonl").write_text(lines)
    return [directory / f"epoch_{epoch}" for epoch in range(epochs)]


def test_the_last_export_has_the_mixture_at_the_end(tmp_path):
    (export,) = run(tmp_path / "mine", EVENTS, 1)
    step, mixture = step_and_mixture(export)
    assert step == 8
    assert mixture["final_probabilities"] == EVENTS[2]["probabilities"]
    assert mixture["average_probabilities"] == pytest.approx(EVENTS[3]["average_probabilities"])
    assert run_name(export) == "mine"


def test_an_earlier_export_has_the_mixture_of_its_step(tmp_path):
    first, _ = run(tmp_path, EVENTS, 2)
    step, mixture = step_and_mixture(first)
    assert step == 4
    assert mixture["final_probabilities"] == {"a": 0.75, "b": 0.25}
    assert mixture["average_probabilities"] == {"a": 0.5, "b": 0.5}


def test_a_dataset_without_examples_left_counts_with_probability_0_from_then_on(tmp_path):
    gone = {"event": "used_up", "step": 6, "datasets": ["a"], "probabilities": {"a": 0.0, "b": 1.0}}
    (export,) = run(tmp_path, [*EVENTS[:2], gone, EVENTS[3]], 1)
    _, mixture = step_and_mixture(export)
    assert mixture["final_probabilities"] == {"a": 0.0, "b": 1.0}
    # 4 steps of 0.5, 2 of 0.75, 2 of 0.
    assert mixture["average_probabilities"] == {"a": 0.4375, "b": 0.5625}


def test_a_damaged_record_is_said(tmp_path):
    (export,) = run(tmp_path, EVENTS, 1)
    record = tmp_path / "mixture.jsonl"
    record.write_text(record.read_text()[2:])
    with pytest.raises(UserError, match="mixture.jsonl, line 1: not a JSON object"):
        step_and_mixture(export)


def test_of_a_run_that_did_not_end_the_step_is_not_known(tmp_path):
    (export,) = run(tmp_path, EVENTS[:2], 1)
    with open(tmp_path / "mixture.jsonl", "a") as file:
        file.write('{"event": "upd')
    assert step_and_mixture(export) == (
        None,
        {"final_probabilities": {"a": 0.75, "b": 0.25}, "average_probabilities": None},
    )


def test_a_downloaded_model_has_no_run(tmp_path):
    model = tmp_path / "Llama"
    model.mkdir()
    assert step_and_mixture(model) == (None, None)
    assert run_name(model) == "Llama"


def test_the_seeds_of_a_row_share_its_name(tmp_path):
    for seed in (0, 1):
        (export,) = run(tmp_path / f"mos_diff/seed_{seed}", EVENTS, 1)
        assert run_name(export) == "mos_diff"
