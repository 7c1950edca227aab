# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What can be said beforehand of the embedded default, and of the knobs of its datasets."""

import numpy as np
from helpers.runs import REPOSITORY, tune
from omegaconf import OmegaConf

SKILL = "mos_tune.datasets.skill_dataset"


def tiny(directory, steps):
    cfg = OmegaConf.load(REPOSITORY / "configs" / "tiny_llama3_mos.yaml")
    cfg.output_dir = str(directory / "run")
    cfg.max_steps_per_epoch = steps
    cfg.metric_logger.filename = "log.txt"
    return cfg


def shares(event):
    return event["probabilities"]


def test_with_transferability_the_datasets_that_resemble_each_other_gain(tmp_path):
    # In the default reverse alone has similarity 0: no symbol in common with the others.
    run = tune(tiny(tmp_path, 30), "reward=mos_tune.rewards.TransferabilityReward")
    assert len(run.events("update")) == 3
    for update in run.events("update"):
        assert shares(update)["reverse"] < 0.24
        assert all(shares(update)[name] > 0.25 for name in ("count", "copy", "sort"))


def test_with_difficulty_the_slow_to_learn_gain_and_the_quickly_learned_lose(tmp_path):
    cfg = tiny(tmp_path, 60)
    # One skill with 2, 5 and 10 symbols: a perplexity of 2 is reached sooner than one of 10.
    cfg.dataset = {
        f"symbols_{count}": {
            "_component_": SKILL,
            "skill": "copy",
            "size": 1000,
            "seed": count,
            "difficulty": count,
        }
        for count in (2, 5, 10)
    }
    run = tune(cfg)
    last = run.events("update")[-1]
    assert last["step"] == 60
    quick, middle, slow = shares(last).values()
    assert quick < 0.3 < 0.36 < slow
    assert quick < middle < slow
    # Smoothing: the rewards move less from update to update than what was measured.
    for name in shares(last):
        moved, measured = (
            np.abs(np.diff([update[key][name] for update in run.events("update")])).sum()
            for key in ("rewards", "raw_rewards")
        )
        assert moved < measured


def test_smoothing_of_the_rewards_is_less_than_half_as_restless_with_a_small_beta(tmp_path):
    run = tune(tiny(tmp_path, 60), "scorer.update_every=5", "reward.smoothing=0.2")
    updates = run.events("update")
    for name in shares(updates[0]):
        steps, measured = (
            np.abs(np.diff([update[key][name] for update in updates]))
            for key in ("rewards", "raw_rewards")
        )
        assert steps.max() < 0.5 * measured.max()
