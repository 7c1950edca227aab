# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import torch
from helpers.ranks import on_ranks
from matplotlib.image import imread

from mos_tune.metrics.record import MixtureRecord

HALVES = torch.tensor([0.5, 0.5], dtype=torch.float64)
COUNTS = {"examples": {"a": 1, "b": 1}, "epochs": {"a": 0.5, "b": 0.1}}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def whole_run(record):
    record.start({"a": 2, "b": 10}, {"a": 2, "b": 3}, HALVES)
    record.validation(0, ["a", "b"], torch.tensor([1.0, 2.0]), 1.5, {"a": 0.0, "b": 0.0})
    record.examples(1, [("a", 1), ("b", 7)])
    record.training(1, torch.tensor([0.25, float("nan")]), HALVES, COUNTS["epochs"])
    record.learned(1, HALVES, HALVES * 2, HALVES * 3, COUNTS, 0.1)
    record.end(1, HALVES, COUNTS)


def test_rank_0_writes_events_scalars_and_the_picture(tmp_path):
    logged = []
    whole_run(
        MixtureRecord(
            ["a", "b"],
            tmp_path / "new",
            lambda metrics, step: logged.append((step, metrics)),
            log_examples=True,
        )
    )
    events = lines(tmp_path / "new" / "mixture.jsonl")
    assert [(event["event"], event["step"]) for event in events] == [
        ("start", 0),
        ("validation", 0),
        ("update", 1),
        ("end", 1),
    ]
    assert events[1]["losses"] == {"a": 1.0, "b": 2.0} and events[1]["mean"] == 1.5
    assert events[2]["rewards"] == {"a": 1.0, "b": 1.0}
    assert lines(tmp_path / "new" / "examples.jsonl") == [
        {"step": 1, "examples": [["a", 1], ["b", 7]]}
    ]
    assert (0, {"val_loss/a": 1.0, "val_loss/b": 2.0, "val_loss/mean": 1.5}) in logged
    assert (1, {"loss/a": 0.25}) in logged
    assert (1, {"mixture/reward/a": 1.0, "mixture/reward/b": 1.0}) in logged
    assert imread(tmp_path / "new" / "mixture.png").size > 0


def test_a_reward_of_several_numbers_is_written_by_its_columns(tmp_path):
    both = torch.tensor([[1.0, 10.0], [2.0, 20.0]])
    one = record(tmp_path)
    one.start({"a": 2, "b": 10}, {"a": 2, "b": 3}, HALVES)
    one.learned(1, HALVES, both / 2, both, COUNTS, 0.1, ["signal", "noise"])
    update = lines(tmp_path / "mixture.jsonl")[1]
    assert update["rewards"] == {"a": 0.5, "b": 1.0}
    assert update["raw_rewards"] == {"a": 1.0, "b": 2.0}
    assert update["signals"] == {"signal": {"a": 1.0, "b": 2.0}, "noise": {"a": 10.0, "b": 20.0}}


def _run_of_a_rank(rank, world_size, folder):
    logged = []

    def log(metrics, step):
        logged.append(metrics)

    whole_run(MixtureRecord(["a", "b"], folder / str(rank), log, log_examples=True))
    return len(logged)


def test_other_ranks_write_nothing(tmp_path):
    logged = on_ranks(2, _run_of_a_rank, tmp_path, tmp_path / "runs")
    assert logged[0] > 0 and logged[1] == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["0"]


def record(directory, **options):
    return MixtureRecord(["a", "b"], directory, lambda metrics, step: None, **options)


def test_an_earlier_runs_files_stay_until_the_new_one_starts(tmp_path):
    whole_run(record(tmp_path, log_examples=False))
    before = (tmp_path / "mixture.jsonl").read_text()
    again = record(tmp_path, log_examples=True)
    assert (tmp_path / "mixture.jsonl").read_text() == before
    again.start({"a": 2, "b": 10}, {"a": 2, "b": 3}, HALVES)
    assert [line["event"] for line in lines(tmp_path / "mixture.jsonl")] == ["start"]


def test_a_resumed_run_goes_on_from_its_step(tmp_path):
    first = record(tmp_path, log_examples=True)
    first.start({"a": 2, "b": 10}, {"a": 2, "b": 3}, HALVES)
    for step in (1, 2, 3):
        first.examples(step, [("a", step)])
        first.validation(step, ["a", "b"], HALVES, 0.5, {})
    with open(tmp_path / "mixture.jsonl", "a") as file:
        file.write('{"event": "upda')
    second = record(tmp_path, log_examples=True)
    second.truncate_after(2)
    second.validation(3, ["a", "b"], HALVES, 0.5, {})
    second.examples(3, [("a", 3)])
    assert [line["step"] for line in lines(tmp_path / "mixture.jsonl")] == [0, 1, 2, 3]
    assert [line["step"] for line in lines(tmp_path / "examples.jsonl")] == [1, 2, 3]
