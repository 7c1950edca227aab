# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Runs that are interrupted and go on, and what must be the same in the end."""

import json

from helpers.runs import RECIPE, settings_for
from safetensors.torch import load_file

LINEAR = {"_component_": "mos_tune.training.get_linear_schedule_with_warmup"}


def settings_of(directory, recipe=RECIPE, processes=1, **changes):
    directory.mkdir(parents=True, exist_ok=True)
    settings = settings_for(recipe, directory, processes)[0] | {
        "resume_from_checkpoint": True,
        "checkpoint": {"every_n_steps": 1, "keep_last": 2},
        "lr_scheduler": LINEAR,
        "epochs": 2,
        "max_steps_per_epoch": 6,
    }
    settings["dataset"]["reverse"]["size"] = 12  # wraps within a few steps
    for key, value in changes.items():
        if isinstance(value, dict) and "_component_" not in value:
            settings[key] = settings.get(key, {}) | value
        else:
            settings[key] = value
    return settings


def events(run):
    lines = (run.directory / "mixture.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key != "seconds"}
        for line in lines
    ]


def assert_identical(run, whole):
    assert run.metric("loss") == whole.metric("loss")
    assert run.metric("lr") == whole.metric("lr")
    for name in whole.events("start")[0]["names"]:
        assert run.metric(f"loss/{name}") == whole.metric(f"loss/{name}")
    assert events(run) == events(whole)
    assert [line["step"] for line in example_lines(run)] == list(range(1, len(run.examples()) + 1))
    assert run.examples() == whole.examples()
    exports = sorted(whole.directory.glob("epoch_*/model*.safetensors"))
    assert len(exports) == 2
    for export in exports:
        expected = load_file(export)
        found = load_file(run.directory / export.relative_to(whole.directory))
        assert expected.keys() == found.keys()
        assert all((expected[key] == found[key]).all() for key in expected)


def example_lines(run):
    return [json.loads(line) for line in (run.directory / "examples.jsonl").open()]
