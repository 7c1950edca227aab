# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A set that is not trained on is the objective, and the gain of Adam's steps on it the reward."""

import pytest
from helpers.runs import OTHER_RECIPES, settings_for, tune


def test_a_target_that_is_not_trained_on(tmp_path):
    settings, processes = settings_for(OTHER_RECIPES[1], tmp_path)
    held_out = {name: part | {"size": 8, "seed": 9} for name, part in settings["dataset"].items()}
    held_out["target"] = held_out["reverse"] | {"seed": 10}
    settings["validation"] = {"every_n_steps": 5, "max_examples": 8, "dataset": held_out}
    settings["objective"] = {"target": 3, "sort": 1}
    settings["reward"] = {
        "_component_": "mos_tune.rewards.HeldOutGainReward",
        "batch_size": 8,
        "preconditioned": True,
        "specialist": None,
    }
    run = tune(settings, processes=processes, recipe=OTHER_RECIPES[1])
    for event in run.events("validation"):
        losses = event["losses"]
        assert list(losses) == [*settings["dataset"], "target"]
        assert event["mean"] == pytest.approx((3 * losses["target"] + losses["sort"]) / 4)
        logged = run.metric("val_loss/target")[event["step"]]
        assert logged == pytest.approx(losses["target"])
    updates = run.events("update")
    assert [update["step"] for update in updates] == [4, 8, 12]
    assert all(list(update["raw_rewards"]) == list(settings["dataset"]) for update in updates)
    assert len({tuple(update["raw_rewards"].values()) for update in updates}) == 3
