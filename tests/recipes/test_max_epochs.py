# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Datasets that may be passed over only so often, and a run that ends when they are used up."""

import pytest
from helpers.interrupted import assert_identical, events, settings_of
from helpers.runs import tune
from matplotlib.image import imread

SIZES = {"count": 20, "copy": 20, "sort": 30, "reverse": 10}
LIMITS = {"count": 18, "copy": 18, "sort": 27, "reverse": 18}
"""Examples that each may give, of which a tenth is held out; 81, ten steps of 8 and one left."""


def limited(directory, **changes):
    """Two epochs of six steps are asked for."""
    settings = settings_of(directory, **changes)
    for name, size in SIZES.items():
        settings["dataset"][name] |= {"size": size, "max_epochs": 1 + (name == "reverse")}
    return settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tune(limited(tmp_path_factory.mktemp("whole")), processes=1)


def test_the_run_ends_when_all_is_used_up_and_says_so(run):
    message = (
        "The run ends early, at step 10 of 12: all datasets have max_epochs, and are then exhausted"
    )
    assert run.output.count(message) == 2
    (end,) = run.events("end")
    assert end["step"] == 10 and sum(end["examples"].values()) == 80
    assert all(end["examples"][name] <= limit for name, limit in LIMITS.items())
    assert "4/4" in run.output  # the second epoch's bar
    # And all is there that a run leaves at its end.
    assert list(run.metric("val_loss/mean")) == [0, 5, 10]
    assert (run.directory / "checkpoints" / "step_10" / "manifest.json").exists()
    assert {path.name for path in run.directory.glob("epoch_*")} == {"epoch_0", "epoch_1"}
    assert imread(run.directory / "mixture.png").std() > 0.05


def test_the_schedule_ends_where_the_run_does(run):
    # One step of warm-up, then linearly to 0; what is logged is the next step's.
    assert run.metric("lr")[1] == pytest.approx(1e-3) and run.metric("lr")[10] == 0
    assert run.metric("lr")[9] == pytest.approx(1e-3 / 9)


def test_a_dataset_that_is_used_up_has_probability_0_from_then_on(run):
    used_up = {name: event["step"] for event in run.events("used_up") for name in event["datasets"]}
    assert len(used_up) >= 3 and min(used_up.values()) < 10
    for event in events(run):
        if "probabilities" not in event:
            continue
        gone = {name for name, step in used_up.items() if step <= event["step"]}
        shares = event["probabilities"]
        assert {name for name, share in shares.items() if share == 0} == gone
        assert sum(shares.values()) == pytest.approx(0 if len(gone) == 4 else 1)
    for name, step in used_up.items():
        drawn = [dataset for examples in run.examples()[:step] for dataset, _ in examples]
        assert drawn.count(name) == LIMITS[name]
        assert f"dataset.{name} is exhausted after step {step}: {LIMITS[name]} ex" in run.output


def test_the_scorer_learns_the_shares_of_those_left(run):
    updates = [update for update in run.events("update") if 0 in update["probabilities"].values()]
    assert updates
    for update in updates:
        rewards, shares = update["rewards"], update["probabilities"]
        assert set(rewards) == set(SIZES)  # measured for all
        left = {name: rewards[name] for name, share in shares.items() if share > 0}
        assert len(left) > 1
        for name, reward in left.items():
            assert shares[name] == pytest.approx(reward / sum(left.values()), abs=1e-3)


def test_a_run_that_was_killed_after_that_is_the_same(run, tmp_path):
    first = run.events("used_up")[0]["step"]
    settings = limited(tmp_path)
    logger = {
        "_component_": "helpers.components.DyingLogger",
        "die_at": first + 1,
        "after": str(tmp_path / "run" / "checkpoints" / f"step_{first}" / "manifest.json"),
    }
    dying = settings | {"metric_logger": settings["metric_logger"] | logger}
    assert tune(dying, processes=1, ok=False).code != 0
    resumed = tune(settings, processes=1)
    assert "Resuming from" in resumed.output
    assert_identical(resumed, run)


def test_whole_batches_on_two_ranks_without_a_scorer(tmp_path):
    settings = limited(tmp_path, processes=2, sampler={"draw": "batch"}, scorer=None)
    run = tune(settings | {"checkpoint": None, "resume_from_checkpoint": False})
    # 18, 18, 27 and 18 examples are 2 + 2 + 3 + 2 batches of 8.
    (end,) = run.events("end")
    assert end["examples"] == {"count": 16, "copy": 16, "sort": 24, "reverse": 16}
    assert all(len({name for name, _ in examples}) == 1 for examples in run.examples())
    left = [set(event["probabilities"].values()) for event in run.events("used_up")]
    assert left == [{0, 1 / 3}, {0, 1 / 2}, {0, 1}, {0}]
