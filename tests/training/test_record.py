# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import torch
from matplotlib.image import imread

from mos_tune.training.record import MixtureRecord

HALVES = torch.tensor([0.5, 0.5], dtype=torch.float64)
COUNTS = {"examples": {"a": 1, "b": 1}, "epochs": {"a": 0.5, "b": 0.1}}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def whole_run(record):
    record.start({"a": 2, "b": 10}, HALVES)
    record.validation(0, torch.tensor([1.0, 2.0]))
    record.examples(1, [("a", 1), ("b", 7)])
    record.training(1, torch.tensor([0.25, float("nan")]), HALVES, COUNTS["epochs"])
    record.update(1, HALVES, HALVES * 2, HALVES * 3, COUNTS, 0.1)
    record.end(1, HALVES, COUNTS)


def test_rank_0_writes_events_scalars_and_the_picture(tmp_path):
    logged = []
    whole_run(
        MixtureRecord(
            ["a", "b"],
            tmp_path / "new",
            lambda metrics, step: logged.append((step, metrics)),
            append=False,
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


def test_other_ranks_write_nothing(tmp_path):
    whole_run(MixtureRecord(["a", "b"], tmp_path / "new", None, append=False, log_examples=True))
    assert not (tmp_path / "new").exists()


def test_a_resumed_run_goes_on_with_the_file(tmp_path):
    def ignore(metrics, step):
        pass

    for append in (False, True):
        record = MixtureRecord(["a", "b"], tmp_path, ignore, append=append, log_examples=False)
        record.validation(3, torch.tensor([1.0, 2.0]))
    assert len(lines(tmp_path / "mixture.jsonl")) == 2
    assert not (tmp_path / "examples.jsonl").exists()


def test_cut_back_forgets_later_steps_the_end_and_a_half_written_line(tmp_path):
    def new(append):
        return MixtureRecord(
            ["a", "b"], tmp_path, lambda *_: None, append=append, log_examples=True
        )

    whole_run(new(append=False))
    (before, examples) = lines(tmp_path / "mixture.jsonl"), lines(tmp_path / "examples.jsonl")
    record = new(append=True)
    for step in (2, 3):
        record.examples(step, [("b", step)])
        record.update(step, HALVES, HALVES, HALVES, COUNTS, 0.1)
    with open(tmp_path / "mixture.jsonl", "ab") as file:
        file.write('{"event": "update", "step": 1, "probabilities": {"\u00e4'.encode()[:-1])

    record = new(append=True)
    record.cut_back(1)
    assert lines(tmp_path / "mixture.jsonl") == before[:-1]
    assert lines(tmp_path / "examples.jsonl") == examples
    record.examples(2, [("a", 0)])
    assert [line["step"] for line in lines(tmp_path / "examples.jsonl")] == [1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "examples.jsonl",
        "mixture.jsonl",
        "mixture.png",
    ]
