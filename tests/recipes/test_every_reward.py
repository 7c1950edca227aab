# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Every recipe with every reward but the default, and whole batches, as Algorithm 1 draws them."""

from pathlib import Path

import pytest
import torch
from helpers.remeasured import measured_again
from helpers.runs import OTHER_RECIPES, RECIPE, SIZES, settings_for, tune


@pytest.mark.parametrize("reward", ["TransferabilityReward", "GradientReward", "UncertaintyReward"])
@pytest.mark.parametrize("recipe", [RECIPE, *OTHER_RECIPES], ids=lambda path: Path(path).stem)
def test_it_is_that_of_the_exported_model_in_one_process(tmp_path, recipe, reward):
    settings, processes = settings_for(recipe, tmp_path)
    settings["reward"]["_component_"] = f"mos_tune.rewards.{reward}"
    settings["sampler"]["draw"] = "batch"
    settings |= {"batch_size": settings["batch_size"] // 2, "gradient_accumulation_steps": 2}
    settings["scorer"]["update_every"] = settings["max_steps_per_epoch"] = 3
    run = tune(settings, processes=processes, recipe=recipe)
    assert all(len({name for name, _ in step}) == 1 for step in run.examples())
    (update,) = run.events("update")
    found = torch.tensor([update["raw_rewards"][name] for name in SIZES], dtype=torch.float64)
    torch.testing.assert_close(found, measured_again(run), rtol=1e-4, atol=1e-6)
    assert found.std() > 1e-3
    shares = {
        name: reward / sum(update["rewards"].values()) for name, reward in update["rewards"].items()
    }
    assert update["probabilities"] == pytest.approx(shares, abs=1e-3)
