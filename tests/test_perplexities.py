# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import math

import pytest

from mos_tune.perplexities import main

START = {"event": "start", "step": 0, "names": ["a", "b"], "probabilities": {"a": 0.5, "b": 0.5}}


def validation(step, a, b):
    losses = {"a": math.log(a), "b": math.log(b)}
    return {"event": "validation", "step": step, "losses": losses, "mean": 1.0}


def write(directory, *events):
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    (directory / "mixture.jsonl").write_text(lines)
    return [str(directory)]


def test_before_after_and_ratio(tmp_path, capsys):
    main(write(tmp_path, START, validation(0, 8, 5), validation(10, 7, 6), validation(20, 2, 5.5)))
    assert capsys.readouterr().out.splitlines() == [
        "| dataset | PPL before | PPL after 20 steps | after / before |",
        "|---|---:|---:|---:|",
        "| a | 8.000 | 2.000 | 0.250 |",
        "| b | 5.000 | 5.500 | 1.100 |",
    ]


@pytest.mark.parametrize(
    ("events", "steps"),
    [
        ([], "no step"),
        ([validation(0, 2, 2)], "0"),
        ([validation(10, 2, 2), validation(20, 2, 2)], "10, 20"),
    ],
)
def test_both_ends_are_needed(tmp_path, events, steps):
    with pytest.raises(SystemExit, match=f"stopped: .* has held-out losses of {steps}; those of"):
        main(write(tmp_path, START, *events))
