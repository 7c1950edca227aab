# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A run that was killed and goes on is the run that was never killed."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.interrupted import assert_identical, settings_of
from helpers.runs import OTHER_RECIPES, tune
from safetensors.torch import load_file, save_file

TRANSFERABILITY = {"_component_": "mos_tune.rewards.TransferabilityReward", "batch_size": 8}
SKILL = "mos_tune.datasets.skill_dataset"

PACKED = {
    name: {"_component_": SKILL, "skill": name, "size": 90, "length": 3, "packed": True}
    for name in ("count", "reverse")
}


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


def on_full_disk(settings, size):
    logger = {"_component_": "helpers.components.FullDiskLogger", "largest_file": size}
    full = tune(
        settings | {"metric_logger": settings["metric_logger"] | logger}, processes=1, ok=False
    )
    assert full.code != 0 and "Traceback" not in full.output.split("mos-tune stopped")[0]
    return full


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Twelve steps that nothing interrupts, without checkpoints."""
    settings = settings_of(tmp_path_factory.mktemp("whole"), checkpoint=None)
    return tune(settings | {"resume_from_checkpoint": False}, processes=1)


def test_what_a_reward_takes_from_the_optimizer_is_the_same_after_a_resume(tmp_path):
    gain = {"_component_": "mos_tune.rewards.HeldOutGainReward", "preconditioned": True}
    options = {"reward": gain | {"batch_size": 8}, "objective": {"sort": 2, "reverse": 1}}
    settings = settings_of(tmp_path / "killed", **options)
    untouched = settings_of(tmp_path / "whole", checkpoint=None, **options)
    uninterrupted = tune(untouched | {"resume_from_checkpoint": False}, processes=1)
    kill_after(settings, 5, processes=1)
    assert_identical(tune(settings, processes=1), uninterrupted)


def test_killed_again_and_again_it_is_the_same_run(whole, tmp_path):
    assert max(update["epochs"]["reverse"] for update in whole.events("update")[:2]) > 1
    settings = settings_of(tmp_path)
    # Inside an update interval, on an update, on a validation, at the end of an epoch, and after a
    # dataset has wrapped.
    checkpoints = tmp_path / "run" / "checkpoints"
    for step in (3, 4, 5, 6, 9):
        killed = kill_after(settings, step, processes=1)
        assert ("Resuming from" in killed.output) == (step > 3)
        if step == 4:
            shards = checkpoints / "step_4" / "__0_0.distcp"
            os.truncate(shards, shards.stat().st_size // 2)
        elif step == 5:
            assert re.search("step_4 is damaged: .* step_3 before it is used", killed.output)
            (checkpoints / "step_6.partial").mkdir()
            (checkpoints / "step_6.partial" / "__0_0.distcp").write_bytes(b"half")
        elif step == 6:
            # First at the epoch's export, then at the next checkpoint.
            for size, message in (
                (500_000, "epoch_0 could not be exported to .*: the disk is full"),
                (1_200_000, "step_7 could not be written: the disk is full"),
            ):
                message = rf"mos-tune stopped: .*{message} \(.*\); the checkpoints before it stay"
                full_disk = on_full_disk(settings, size)
                assert re.search(message, full_disk.output), full_disk.output[-6000:]
                assert not any(checkpoints.glob("step_7*"))
    with open(checkpoints / "step_9" / "__0_0.distcp", "r+b") as shards:
        shards.seek(100_000)
        byte = shards.read(1)[0]
        shards.seek(100_000)
        shards.write(bytes([byte ^ 16]))
    resumed = tune(settings, processes=1)
    assert re.search("step_9 is damaged: .* step_8 before it is used", resumed.output)
    assert "Resuming from" in resumed.output and " 3/6 " in resumed.output
    assert_identical(resumed, whole)
    assert {path.name for path in checkpoints.iterdir()} == {
        "step_11",
        "step_12",
        "step_4.damaged",
        "step_9.damaged",
    }


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
        {"dataset": PACKED},
        {"scorer": None, "sampler": {"temperature": 2}, "model": {"attn_dropout": 0.1}},
        {"optimizer_in_bwd": True, "dtype": "bf16"},
    ],
    ids=["transferability-batch-accumulation", "packed", "static-dropout", "in-backward-bf16"],
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


@pytest.mark.parametrize("reward", ["DifficultyReward", "GradientReward"])
def test_a_run_is_lengthened_where_fsdp_keeps_weights_gathered(tmp_path, reward):
    settings = settings_of(tmp_path, batch_size=4, epochs=1, max_steps_per_epoch=4)
    settings["reward"] = {"_component_": f"mos_tune.rewards.{reward}", "batch_size": 8}
    settings["checkpoint"]["every_n_steps"] = 4
    settings["fsdp_reshard_after_forward"] = False
    first = tune(settings).metric("loss")
    longer = tune(settings, "max_steps_per_epoch=8")
    assert [update["step"] for update in longer.events("update")] == [4, 8]
    losses = longer.metric("loss")
    assert list(losses) == list(range(1, 9)) and max(losses[7], losses[8]) < first[1]


@pytest.mark.parametrize("recipe", OTHER_RECIPES)
def test_other_recipes(tmp_path, recipe):
    never = settings_of(tmp_path / "never", recipe, 2) | {"checkpoint": None}
    processes = 8 // never["batch_size"]
    never = tune(never | {"resume_from_checkpoint": False}, processes=processes, recipe=recipe)
    settings = settings_of(tmp_path / "killed", recipe, 2) | {
        "checkpoint": {"every_n_steps": 7, "keep_last": 1}
    }
    kill_after(settings, 7, at=9, processes=processes, recipe=recipe)
    if "lora" in recipe:
        _refuses_another_base_model(settings, processes, recipe)
    resumed = tune(settings, processes=processes, recipe=recipe)
    assert_identical(resumed, never)
    if "lora" in recipe:
        model = load_file(resumed.directory / "epoch_1" / "model-00001-of-00001.safetensors")
        saved = resumed.directory / "checkpoints" / "step_12"
        # The adapters and their optimizer state; with the base model's it would be three times it.
        size = sum(shard.stat().st_size for shard in saved.glob("*.distcp"))
        assert size < 1.5 * sum(weight.nbytes for weight in model.values())


def _refuses_another_base_model(settings, processes, recipe):
    options = {"processes": processes, "recipe": recipe, "ok": False}
    refused = tune(settings, "model.lora_alpha=8", **options)
    assert "model.lora_alpha is 8, the checkpoint has 16" in refused.output
    base = Path(settings["checkpointer"]["checkpoint_dir"]) / "model.safetensors"
    weights = load_file(base)
    changed = {name: weight + 0.01 for name, weight in weights.items()}
    save_file(changed, base, metadata={"format": "pt"})
    refused = tune(settings, **options)
    assert re.search("checkpoint_dir: the hash of its weights is .*, the checkp", refused.output)
    save_file(weights, base, metadata={"format": "pt"})


def test_another_number_of_ranks(whole, tmp_path):
    settings = settings_of(tmp_path)
    names = [f"mixture/probability/{name}" for name in whole.events("start")[0]["names"]]
    saved = {}
    # On an update, at the end of an epoch, and in the middle of one.
    for ranks, step in ((1, 4), (4, 6), (2, 9)):
        killed = kill_after(settings | {"batch_size": 8 // ranks}, step, processes=ranks)
        assert all(f"checkpoints/step_{old}\n" in killed.output for old in list(saved)[-1:])
        saved[step] = {p: killed.metric(p)[step] for p in names}
    resumed = tune(settings, processes=1)
    assert "checkpoints/step_9\n" in resumed.output
    assert resumed.examples() == whole.examples()
    for p in names:
        for step, values in saved.items():
            # No update is between a step that was saved and the next, made by other ranks.
            assert resumed.metric(p)[step + 1] == pytest.approx(values[p], rel=0, abs=1e-9)
        assert resumed.metric(p)[12] == pytest.approx(whole.metric(p)[12], rel=0, abs=1e-4)
    np.testing.assert_allclose(
        list(resumed.metric("loss").values()), list(whole.metric("loss").values()), atol=1e-4
    )


def test_what_may_change_on_resume_and_what_may_not(whole, tmp_path):
    settings = settings_of(tmp_path)
    kill_after(settings, 6, processes=1)
    before = (tmp_path / "run" / "mixture.jsonl").read_text()
    other = settings["dataset"] | {"sort": settings["dataset"]["sort"] | {"seed": 5}}
    packed = settings["dataset"] | {"sort": settings["dataset"]["sort"] | {"packed": True}}
    for changes, message in (
        (
            {"dataset": packed},
            "a draw of dataset.sort takes is a pack of 64 tokens .*, the checkpoint has an example",
        ),
        ({"dataset": other}, "dataset.sort has other examples than the checkpoint was"),
        ({"reward": TRANSFERABILITY}, "reward is TransferabilityReward, the checkpoint has Diff"),
        ({"batch_size": 4}, "global batch .* is 4, the checkpoint has 8"),
        ({"dtype": "bf16"}, "dtype is bf16, the checkpoint has fp32"),
        ({"resume_from_checkpoint": False}, "resume_from_checkpoint is False.*up to step_6"),
    ):
        refused = tune(settings | changes, processes=1, ok=False)
        assert refused.code != 0 and re.search(message, refused.output), refused.output[-3000:]
    assert (tmp_path / "run" / "mixture.jsonl").read_text() == before
    longer = tune(
        settings | {"max_steps_per_epoch": 9},
        "optimizer.lr=5e-4",
        "log_examples=False",
        "validation.max_examples=7",
        processes=1,
    )
    warning = r"After step 6, held-out losses are of other examples .*: 7 of dataset.count instead"
    assert len(re.findall(warning, longer.output)) == 1
    assert [update["step"] for update in longer.events("update")] == [4, 8, 12, 16]
    assert longer.events("end")[0]["step"] == 18 and list(longer.metric("loss"))[-1] == 18
    assert longer.metric("lr")[7] == pytest.approx(5e-4 * (18 - 7) / 16)
    # The same probe examples and theta_0 as in the run that had planned fewer steps.
    for name, reward in whole.events("update")[0]["raw_rewards"].items():
        assert longer.events("update")[0]["raw_rewards"][name] == reward
