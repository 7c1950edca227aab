# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest

from mos_tune.errors import UserError
from mos_tune.learning import RunPlan, check_resumes
from mos_tune.learning.plan import tell_changes
from mos_tune.mixture import MixtureSampler, TokenizedExamples
from mos_tune.rewards import DifficultyReward, GradientReward
from mos_tune.scorers import MLPScorer

SIZES = {"a": 40, "b": 7, "c": 30}


def plan(sizes=SIZES, *, total_steps=12, reward=DifficultyReward, held_out=3, saved=(), **sampler):
    """A plan of made-up examples; ``saved`` overrides its own fields."""
    rows = {name: [{"tokens": [1, 2], "labels": [1, 2]}] * size for name, size in sizes.items()}
    sequences = {name: TokenizedExamples(part) for name, part in rows.items()}
    mixture = MixtureSampler(sizes, **{"global_batch_size": 16, "seed": 3} | sampler)
    return RunPlan(
        seed=sampler.get("seed", 3),
        sequences=sequences,
        examples=sequences,
        held_out={name: part[:held_out] for name, part in rows.items()},
        sampler=mixture,
        scorer=reward and MLPScorer(mixture.prior, update_every=4),
        reward=reward and reward(mixture.names, batch_size=8),
        total_steps=total_steps,
        **dict(saved),
    )


def saved_by(one: RunPlan, step=4):
    on = {"scorer": {}, "reward": {}} if one.reward else {"scorer": None, "reward": None}
    return {**one.state_dict(), "sampler": one.sampler.state_dict(), "step": step, **on}


def test_the_same_run_resumes_also_when_it_is_longer():
    check_resumes(plan(), saved_by(plan()), may_be_longer=False)
    check_resumes(plan(total_steps=20), saved_by(plan()), may_be_longer=True)
    check_resumes(plan(reward=None), saved_by(plan(reward=None)), may_be_longer=True)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({**SIZES, "d": 5}, r"is \['a', 'b', 'c', 'd'\], .* \['a', 'b', 'c'\]: dataset.d is new$"),
        ({"a": 40, "c": 30}, r"is \['a', 'c'\], .* \['a', 'b', 'c'\]: dataset.b is gone$"),
        ({"a": 40, "d": 7, "c": 30}, "dataset.d is new, dataset.b is gone$"),
        ({"b": 7, "a": 40, "c": 30}, r"is \['b', 'a', 'c'\], .*: their order differs$"),
        ({**SIZES, "b": 8}, "number of training sequences of dataset.b is 8, the checkpoint has 7"),
    ],
)
def test_other_datasets_are_refused(sizes, message):
    with pytest.raises(UserError, match=message):
        check_resumes(plan(sizes), saved_by(plan()), may_be_longer=True)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"seed": 4}, "seed is 4, the checkpoint has 3"),
        ({"global_batch_size": 9}, "global batch .* is 9, the checkpoint has 16"),
        ({"shuffle": False}, "shuffle is False, the checkpoint has True"),
        ({"temperature": 2}, "sampler.temperature is 2.0, the checkpoint has inf"),
        ({"draw": "batch"}, "sampler.draw is batch, the checkpoint has example"),
        ({"reward": None}, "scorer, on or off, is off, the checkpoint has on"),
        ({"reward": GradientReward}, "reward is GradientReward, the checkpoint has DifficultyRew"),
        ({"total_steps": 3}, "number of steps is 3, the checkpoint has made 4"),
        ({"saved": {"model": {"model.rank": 8}}}, "model.rank is 8, the checkpoint has None"),
        (
            {"saved": {"pack_sizes": dict.fromkeys(SIZES, 64)}},
            "what a draw of dataset.a takes is a pack of 64 tokens .*, the checkpoint has None",
        ),
        (
            {"saved": {"fingerprints": {"dataset.a": "x", "dataset.new": "y"}}},
            "dataset.a has other examples .* their hash is x, the checkpoint has f",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_another_option_is_refused(option, message):
    before = plan(saved={"fingerprints": {"dataset.a": "f"}})
    with pytest.raises(UserError, match=message):
        check_resumes(plan(**option), saved_by(before), may_be_longer=True)


def test_another_dtype_is_refused():
    here, before = (plan(saved={"model": {"dtype": dtype}}) for dtype in ("bf16", "fp32"))
    with pytest.raises(UserError, match="dtype is bf16, the checkpoint has fp32"):
        check_resumes(here, saved_by(before), may_be_longer=True)


def test_an_objective_names_held_out_sets():
    with pytest.raises(UserError, match="objective.d is no held-out set; there are a, b, c"):
        plan(saved={"objective": {"d": 1.0}})


def test_another_objective_is_refused():
    here, before = (plan(saved={"objective": {"a": weight}}) for weight in (1.0, 2.0))
    check_resumes(here, saved_by(here), may_be_longer=False)
    with pytest.raises(UserError, match="objective is a: 1, the checkpoint has a: 2"):
        check_resumes(here, saved_by(before), may_be_longer=True)
    with pytest.raises(UserError, match="objective is None, the checkpoint has a: 2"):
        check_resumes(plan(), saved_by(before), may_be_longer=True)


def test_held_out_examples_matter_where_the_reward_measures_them():
    check_resumes(plan(held_out=2), saved_by(plan()), may_be_longer=True)
    before = saved_by(plan(reward=GradientReward))
    with pytest.raises(UserError, match="examples of dataset.a is 2, the checkpoint has 3"):
        check_resumes(plan(reward=GradientReward, held_out=2), before, may_be_longer=True)


def test_other_held_out_examples_are_said_where_they_are_only_reported(caplog):
    here, saved = plan(held_out=2), saved_by(plan())
    check_resumes(here, saved, may_be_longer=True)
    tell_changes(here, saved)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "After step 4, held-out losses" in record.message
    assert "2 of dataset.a instead of 3, 2 of dataset.b instead of 3" in record.message


def test_what_an_earlier_version_did_not_write_is_not_missed(caplog):
    here, saved = plan(saved={"model": {"dtype": "bf16"}}), saved_by(plan())
    del saved["held_out"]
    check_resumes(here, saved, may_be_longer=True)
    tell_changes(here, saved)
    assert not caplog.records


def test_only_an_untouched_model_may_train_for_longer():
    with pytest.raises(UserError, match="number of steps is 20, the checkpoint has 12"):
        check_resumes(plan(total_steps=20), saved_by(plan()), may_be_longer=False)
