# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Mixtures and schedules from the command line, and an earlier run's mixture reused."""

import pytest
from helpers.runs import SIZES, config, tune

from mos_tune.early_stop import peaks


def test_learned_from_unimax_by_a_schedule_then_reused_as_a_fixed_mixture(tmp_path):
    learned = tune(
        config(tmp_path / "learned"),
        "sampler.weights=unimax",
        "sampler.unimax_epochs=0.5",
        "scorer=mos_tune.scorers.FixedPointScorer",
        "scorer.update_every=[[0,2],[4,3],[9,null]]",
        "scorer.floor=0.0",
    )
    (start,), updates = learned.events("start"), learned.events("update")
    assert [event["step"] for event in updates] == [2, 4, 7]
    assert "sampler.weights unimax: count 0." in learned.output
    assert "sampler.temperature inf is not used" in learned.output
    assert "The mixture stays at its average after step 9" in learned.output
    # A tenth is held out, and half of what is left of reverse and copy is dealt out.
    draws = {name: share * 12 * 8 for name, share in start["probabilities"].items()}
    rest = (12 * 8 - 13.5 - 27) / 2
    assert draws == pytest.approx({"count": rest, "copy": 27, "sort": rest, "reverse": 13.5})
    (end,) = learned.events("end")

    fixed = tune(
        config(tmp_path / "fixed"),
        "scorer=null",
        f"sampler.weights={learned.directory / 'mixture.jsonl'}",
        processes=1,
    )
    (start,) = fixed.events("start")
    assert start["probabilities"] == pytest.approx(end["average_probabilities"], abs=1e-12)
    assert not fixed.events("update")


def test_a_bad_mixture_is_named_before_the_model_is_loaded(tmp_path):
    settings = config(tmp_path / "bad")
    settings["sampler"]["weights"] = {**dict.fromkeys(SIZES, 1), "copy": 0}
    run = tune(settings, processes=1, ok=False)
    assert run.code == 1
    assert "sampler.weights of dataset.copy must be a number above 0, got 0" in run.output


def test_shares_of_response_tokens(tmp_path):
    settings = config(tmp_path)
    settings["validation"] = None
    settings["dataset"]["count"]["length"] = 20
    overrides = ("scorer=null", "sampler.unit=response_tokens", "max_steps_per_epoch=100")
    run = tune(settings, *overrides, processes=1)
    (start,), (end,) = run.events("start"), run.events("end")
    assert start["unit"] == "response_tokens"
    assert start["lengths"]["response_tokens"]["count"] < start["lengths"]["tokens"]["count"]
    tokens = end["response_tokens"]
    for name in SIZES:
        assert start["probabilities"][name] == pytest.approx(0.25)
        assert tokens[name] / sum(tokens.values()) == pytest.approx(0.25, abs=0.05)
    assert max(end["draws"].values()) > 1.5 * min(end["draws"].values())


def test_early_stop_on_two_ranks_and_its_limits_for_the_next_run(tmp_path):
    settings = config(tmp_path)
    settings["early_stop"] = {"patience": 1, "min_delta": 10.0}
    run = tune(settings, "validation.every_n_steps=5")
    (event,) = run.events("early_stop")
    # No loss falls by 10 nats, so that all but the last one are stopped at the first chance.
    assert event["step"] == 5 and list(event["best"]) == [*SIZES][:3]
    assert {name for examples in run.examples()[5:] for name, _ in examples} == {"reverse"}
    assert "dataset.count is drawn no more after step 5: its held-out loss was best" in run.output
    assert set(peaks(run.directory)) == set(SIZES)
