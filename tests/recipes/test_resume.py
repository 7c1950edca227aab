# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A run that was killed and goes on is the run that was never killed."""

import re

import numpy as np
import pytest
from helpers.interrupted import assert_identical, settings_of
from helpers.runs import tune

TRANSFERABILITY = {"_component_": "mos_tune.rewards.TransferabilityReward", "batch_size": 8}


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
