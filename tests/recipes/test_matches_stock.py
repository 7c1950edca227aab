# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The training mathematics is the stock recipe's: same examples, same losses."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from helpers.runs import OTHER_RECIPES, RECIPE, REPOSITORY, settings_for, tune

SCHEDULE = {"_component_": "mos_tune.training.get_linear_schedule_with_warmup"}


@pytest.mark.parametrize("recipe", [RECIPE, *OTHER_RECIPES])
def test_the_stock_train_loop_is_not_overridden(recipe):
    names = runpy.run_path(str(REPOSITORY / recipe))
    (ours,) = (value for name, value in names.items() if "MoS" in name)
    file = Path(ours.train.__code__.co_filename)
    assert file.parent != REPOSITORY / "recipes"
    assert file.name == Path(recipe).name.replace("_mos", "")


@pytest.mark.parametrize(
    ("recipe", "processes", "accumulation", "draw", "reward"),
    [
        (RECIPE, 2, 1, "example", "DifficultyReward"),
        (RECIPE, 2, 2, "example", "GradientReward"),
        (RECIPE, 1, 2, "batch", "UncertaintyReward"),
        *((recipe, 2, 2, "example", "GradientReward") for recipe in OTHER_RECIPES),
    ],
)
def test_losses_are_those_of_the_stock_recipe(
    tmp_path, recipe, processes, accumulation, draw, reward
):
    settings, processes = settings_for(recipe, tmp_path, processes)
    settings |= {"gradient_accumulation_steps": accumulation, "lr_scheduler": SCHEDULE}
    settings["sampler"]["draw"] = draw
    # Whatever a reward left in .grad or in the optimizer would be in the next step's loss.
    settings["reward"]["_component_"] = f"mos_tune.rewards.{reward}"
    mixed = tune(settings, processes=processes, recipe=recipe)
    assert mixed.events("update")[-1]["probabilities"] != mixed.events("start")[0]["probabilities"]

    stock = {key: settings[key] for key in settings if key not in ("sampler", "scorer", "reward")}
    stock |= {
        "output_dir": str(tmp_path / "stock"),
        "shuffle": False,
        "dataset": {
            "_component_": "helpers.replay.replay_dataset",
            "settings": str(tmp_path / "run.yaml"),
            "examples": str(mixed.directory / "examples.jsonl"),
        },
    }
    name = Path(recipe).stem.replace("_mos", "")
    replayed = tune(
        stock, f"stock={name}", processes=processes, recipe="tests/helpers/stock_recipe.py"
    )
    assert len(replayed.losses()) == 12
    np.testing.assert_allclose(mixed.losses(), replayed.losses(), atol=1e-5, rtol=0)
    assert mixed.losses()[-1] < mixed.losses()[0] - 0.1
