# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A run that was killed and goes on is the run that was never killed."""

import json
import re

import numpy as np
import pytest
from helpers.runs import config, tune
from safetensors.torch import load_file

TRANSFERABILITY = {"_component_": "mos_tune.rewards.TransferabilityReward", "batch_size": 8}
LINEAR = {"_component_": "mos_tune.training.get_linear_schedule_with_warmup"}


def settings_of(directory, **changes):
    directory.mkdir(parents=True, exist_ok=True)
    settings = config(directory) | {
        "resume_from_checkpoint": True,
        "checkpoint": {"every_n_steps": 1, "keep_last": 2},
        "lr_scheduler": LINEAR,
        "epochs": 2,
        "max_steps_per_epoch": 6,
        "batch_size": 8,
    }
    settings["dataset"]["reverse"]["size"] = 12  # wraps within a few steps
    for key, value in changes.items():
        if isinstance(value, dict) and "_component_" not in value:
            settings[key] = settings[key] | value
        else:
            settings[key] = value
    return settings


def kill_after(settings, step, at=None, **options):
    """Run until ``step`` is saved, and die in the step after it, or in step ``at``."""
    logger = settings["metric_logger"] | {
        "_component_": "helpers.components.DyingLogger",
        "die_at": at or step + 1,
        "after": f"{settings['output_dir']}/checkpoints/step_{step}/manifest.json",
    }
    run = tune(settings | {"metric_logger": logger}, ok=False, **options)
    assert run.code != 0
    assert (run.directory / "checkpoints" / f"step_{step}").exists(), run.output[-6000:]
    return run


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Twelve steps that nothing interrupts, without checkpoints."""
    settings = settings_of(tmp_path_factory.mktemp("whole"), checkpoint=None)
    return tune(settings | {"resume_from_checkpoint": False}, processes=1)


def test_killed_again_and_again_it_is_the_same_run(whole, tmp_path):
    assert max(update["epochs"]["reverse"] for update in whole.events("update")[:2]) > 1
    settings = settings_of(tmp_path)
    # Inside an update interval, on an update, on a validation, at the end of an epoch, and after a
    # dataset has wrapped.
    for step in (3, 4, 5, 6, 9):
        killed = kill_after(settings, step, processes=1)
        assert ("Going on from" in killed.output) == (step > 3)
    resumed = tune(settings, processes=1)
    assert "checkpoints/step_9" in resumed.output and " 4/6 " in resumed.output
    assert_identical(resumed, whole)
    assert sorted(path.name for path in (resumed.directory / "checkpoints").iterdir()) == [
        "step_11",
        "step_12",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "reward": TRANSFERABILITY,
            "sampler": {"draw": "batch"},
            "gradient_accumulation_steps": 2,
            "batch_size": 4,
            "log_every_n_steps": 3,
        },
        {"scorer": None, "sampler": {"temperature": 2}, "model": {"attn_dropout": 0.1}},
        {"optimizer_in_bwd": True, "dtype": "bf16"},
    ],
    ids=["transferability-batch-accumulation", "static-dropout", "in-backward-bf16"],
)
def test_other_kinds_of_runs(tmp_path, changes):
    never = settings_of(tmp_path / "never", **changes) | {"checkpoint": None}
    never = tune(never | {"resume_from_checkpoint": False}, processes=1)
    settings = settings_of(tmp_path / "killed", **changes) | {
        "checkpoint": {"every_n_steps": 7, "keep_last": 1}
    }
    kill_after(settings, 7, at=9, processes=1)
    assert_identical(tune(settings, processes=1), never)


@pytest.mark.parametrize("reward", ["GradientReward", "UncertaintyReward"])
def test_rewards_on_held_out_examples_on_2_ranks(tmp_path, reward):
    component = f"mos_tune.rewards.{reward}"
    never = settings_of(tmp_path / "never", checkpoint=None, batch_size=4)
    never = tune(never | {"resume_from_checkpoint": False}, f"reward={component}")
    updates = never.events("update")
    assert [update["step"] for update in updates] == [4, 8, 12]
    for update in updates:
        raw = list(update["raw_rewards"].values())
        assert all(-1 < value < 1 for value in raw) and len(set(raw)) == 4
    settings = settings_of(tmp_path / "killed", batch_size=4) | {
        "reward": {"_component_": component, "batch_size": 8},
        "checkpoint": {"every_n_steps": 7, "keep_last": 1},
    }
    kill_after(settings, 7, at=9)
    settings["validation"] |= {"max_examples": 7}
    refused = tune(settings, ok=False)
    assert "held-out examples of dataset.count is 7, the checkpoint has 8" in refused.output
    settings["validation"] |= {"max_examples": 8}
    assert_identical(tune(settings), never)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_another_number_of_ranks(whole, tmp_path, before, after):
    settings = settings_of(tmp_path)
    killed = kill_after(settings | {"batch_size": 8 // before}, 6, processes=before)
    resumed = tune(settings | {"batch_size": 8 // after}, processes=after)
    assert "checkpoints/step_6" in resumed.output
    assert resumed.examples() == whole.examples()
    for name in whole.events("start")[0]["names"]:
        p = f"mixture/probability/{name}"
        assert resumed.metric(p)[7] == pytest.approx(killed.metric(p)[6], rel=0, abs=1e-9)
        assert resumed.metric(p)[12] == pytest.approx(whole.metric(p)[12], rel=0, abs=1e-4)
    np.testing.assert_allclose(
        list(resumed.metric("loss").values()), list(whole.metric("loss").values()), atol=1e-4
    )


def test_what_may_change_on_resume_and_what_may_not(whole, tmp_path):
    settings = settings_of(tmp_path)
    kill_after(settings, 6, processes=1)
    before = (tmp_path / "run" / "mixture.jsonl").read_text()
    for changes, message in (
        ({"seed": 2}, "seed is 2, the checkpoint has 1"),
        ({"reward": TRANSFERABILITY}, "reward is TransferabilityReward, the checkpoint has Diff"),
        ({"batch_size": 4}, "global batch .* is 4, the checkpoint has 8"),
        ({"resume_from_checkpoint": False}, "resume_from_checkpoint is False.*up to step_6"),
    ):
        refused = tune(settings | changes, processes=1, ok=False)
        assert refused.code != 0 and re.search(message, refused.output), refused.output[-3000:]
    assert (tmp_path / "run" / "mixture.jsonl").read_text() == before
    longer = tune(
        settings | {"max_steps_per_epoch": 9},
        "optimizer.lr=5e-4",
        "log_examples=False",
        processes=1,
    )
    assert [update["step"] for update in longer.events("update")] == [4, 8, 12, 16]
    assert longer.events("end")[0]["step"] == 18 and list(longer.metric("loss"))[-1] == 18
    assert longer.metric("lr")[7] == pytest.approx(5e-4 * (18 - 7) / 16)
    # The same probe examples and theta_0 as in the run that had planned fewer steps.
    for name, reward in whole.events("update")[0]["raw_rewards"].items():
        assert longer.events("update")[0]["raw_rewards"][name] == reward
