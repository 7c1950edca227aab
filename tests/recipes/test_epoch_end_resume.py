# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Resuming from an epoch's export with epochs of another length."""

import json
import shutil

import pytest
from helpers.runs import config, tune

SINGLE = "recipes/full_finetune_mos_single_device.py"


@pytest.mark.parametrize(("epochs", "steps", "exports"), [(4, 5, {2, 3}), (1, 20, {0})])
def test_it_resumes_at_the_step_that_was_saved(tmp_path, epochs, steps, exports):
    settings = config(tmp_path) | {"epochs": 2, "max_steps_per_epoch": 10, "checkpoint": None}
    whole = tune(settings, processes=1, recipe=SINGLE)
    losses, examples, (end,) = whole.metric("loss"), whole.examples(), whole.events("end")
    shutil.rmtree(whole.directory / "epoch_1")
    (whole.directory / "logs" / "log.txt").unlink()
    settings["checkpointer"]["checkpoint_files"] = ["epoch_0/model-00001-of-00001.safetensors"]
    resumed = tune(
        settings | {"resume_from_checkpoint": True},
        f"epochs={epochs}",
        f"max_steps_per_epoch={steps}",
        processes=1,
        recipe=SINGLE,
    )
    assert resumed.metric("loss") == {step: losses[step] for step in range(11, 21)}
    lines = (resumed.directory / "examples.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 21))
    assert resumed.examples() == examples
    assert sum(end["average_probabilities"].values()) == pytest.approx(1)
    (resumed_end,) = resumed.events("end")
    assert resumed_end == end
    written = {int(path.name.removeprefix("epoch_")) for path in resumed.directory.glob("epoch_*")}
    assert written == {0} | exports
