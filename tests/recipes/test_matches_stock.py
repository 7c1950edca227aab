# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The training mathematics is the stock recipe's: same examples, same losses."""

import runpy

import numpy as np
import pytest
from helpers.runs import RECIPE, REPOSITORY, config, tune


def test_the_stock_train_loop_is_not_overridden():
    names = runpy.run_path(str(REPOSITORY / RECIPE))
    stock = names["_stock"].FullFinetuneRecipeDistributed
    assert names["FullFinetuneMoSRecipeDistributed"].train is stock.train
    assert stock.train.__code__.co_filename.endswith("recipes/full_finetune_distributed.py")


@pytest.mark.parametrize(
    ("processes", "accumulation", "draw"),
    [(2, 1, "example"), (2, 2, "example"), (1, 2, "batch")],
)
def test_losses_are_those_of_the_stock_recipe(tmp_path, processes, accumulation, draw):
    settings = config(tmp_path) | {"gradient_accumulation_steps": accumulation}
    settings["sampler"]["draw"] = draw
    mixed = tune(settings, processes=processes)
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
    replayed = tune(stock, processes=processes, recipe="tests/helpers/stock_full_finetune.py")
    assert len(replayed.losses()) == 12
    np.testing.assert_allclose(mixed.losses(), replayed.losses(), atol=1e-5, rtol=0)
    assert mixed.losses()[-1] < mixed.losses()[0] - 0.1
