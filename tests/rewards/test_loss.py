# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Losses above a reference, and ODM's two forms of a training loss."""

import json
from functools import partial

import pytest
import torch
from helpers.plain_loop import TinyLM, train
from helpers.probing import examples, probes
from helpers.ranks import on_ranks
from torch import nn

from mos_tune.errors import UserError
from mos_tune.rewards import ExcessLossReward, Progress, TrainingLossReward, measuring

TRAIN = {name: examples(5 + seed, seed, vocab_size=32) for seed, name in enumerate("ab")}
HELD_OUT = {name: examples(4, seed, vocab_size=32) for seed, name in enumerate("abt", start=5)}
NAMES = list(TRAIN)
ZERO = dict.fromkeys(NAMES, 0.0)


def tiny_model():
    torch.manual_seed(3)
    return TinyLM().double()


@torch.no_grad()
def expected(model, datasets):
    """Mean loss per response token of each dataset, row by row and without padding."""
    means = []
    for name in NAMES:
        losses = []
        for row in datasets[name]:
            labels = torch.tensor(row["labels"])[1:]
            logits = model(torch.tensor([row["tokens"]]))[0, :-1]
            chosen = labels != -100
            losses.append(
                nn.functional.cross_entropy(logits[chosen], labels[chosen], reduction="none")
            )
        means.append(torch.cat(losses).mean())
    return torch.stack(means)


def measured(reward, model, probabilities=(0.5, 0.5), **where):
    progress = Progress(1, torch.tensor(probabilities).double(), {}, {})
    some = probes(TRAIN, held_out=probes(HELD_OUT, **where), progress=progress, **where)
    with measuring(model):
        return reward.measure(model, some)


def test_the_excess_is_the_held_out_loss_above_the_reference():
    model = tiny_model()
    losses = expected(model, HELD_OUT)
    torch.testing.assert_close(measured(ExcessLossReward(NAMES, reference=ZERO), model), losses)
    above = {"b": float(losses[1]) + 1.0, "a": float(losses[0]) - 0.25}  # in another order
    reward = ExcessLossReward(NAMES, reference=above)
    raw = measured(reward, model)
    torch.testing.assert_close(raw, torch.tensor([0.25, -1.0]).double())
    assert reward.smooth(raw).tolist() == pytest.approx([0.25, 0.0])


def event(name, step, **fields):
    return json.dumps({"event": name, "step": step, **fields}) + "\n"


def reference_file(folder, losses, names=NAMES):
    file = folder / "mixture.jsonl"
    half = dict.fromkeys(names, 0.5)
    lines = [event("start", 0, names=names, probabilities=half, sizes={}, draws_per_epoch={})]
    lines += [event("validation", step, losses=one, mean=1.0) for step, one in enumerate(losses)]
    file.write_text("".join(lines))
    return str(file)


def test_of_a_run_each_datasets_least_loss_counts(tmp_path):
    losses = [
        {"a": 3.0, "b": 2.0, "t": 9},
        {"a": 1.0, "b": 2.5, "t": 9},
        {"a": 1.5, "b": 3, "t": 9},
    ]
    reward = ExcessLossReward(NAMES, reference=reference_file(tmp_path, losses))
    same = ExcessLossReward(NAMES, reference={"a": 1.0, "b": 2.0})
    assert torch.equal(measured(reward, tiny_model()), measured(same, tiny_model()))


def test_a_run_may_be_the_reference_of_the_next(tmp_path):
    _, events = train(tmp_path / "first", TRAIN, held_out=HELD_OUT, lr=0.1)
    best = min(one["losses"]["a"] for one in events if one["event"] == "validation")
    file = str(tmp_path / "first" / "mixture.jsonl")
    reward = partial(ExcessLossReward, reference=file)
    assert reward(NAMES)._reference["a"] == best
    _, events = train(tmp_path / "second", TRAIN, reward, held_out=HELD_OUT, lr=1e-4)
    update = next(one for one in events if one["event"] == "update")
    now = next(one for one in events if one["event"] == "validation" and one["step"] == 2)
    assert update["raw_rewards"]["a"] == pytest.approx(now["losses"]["a"] - best)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"a": 1.0}, "reward.reference has no loss of dataset.b; it has those of a$"),
        ({**ZERO, "c": 1.0}, "reference has a loss of c, which is no dataset; .* are a, b$"),
        ({**ZERO, "b": "low"}, "reward.reference.b must be a number, got 'low'"),
        (3, "reward.reference must be a mixture.jsonl, or a loss for each dataset, got 3"),
        ("nowhere/mixture.jsonl", "reward.reference: cannot read nowhere/mixture.jsonl: No such"),
    ],
)
def test_a_reference_that_does_not_fit_is_named(reference, message):
    with pytest.raises(UserError, match=message):
        ExcessLossReward(NAMES, reference=reference)


def test_a_run_that_does_not_fit_is_named(tmp_path):
    file = reference_file(tmp_path, [{"a": 1.0, "c": 1.0}], names=["a", "c"])
    with pytest.raises(UserError, match=f"reward.reference {file} has no loss of dataset.b"):
        ExcessLossReward(NAMES, reference=file)
    file = reference_file(tmp_path, [{**ZERO, "c": 1.0}], names=[*NAMES, "c"])
    with pytest.raises(UserError, match=f"reward.reference {file} has a loss of c, which is no"):
        ExcessLossReward(NAMES, reference=file)
    file = reference_file(tmp_path, [])
    with pytest.raises(UserError, match=f"reward.reference {file} has no held-out losses"):
        ExcessLossReward(NAMES, reference=file)


def test_another_reference_is_refused_when_a_run_resumes():
    state = ExcessLossReward(NAMES, reference=ZERO).state_dict()
    ExcessLossReward(NAMES, reference=ZERO).load_state_dict(state)
    with pytest.raises(ValueError, match=r"reference is \{'a': 0.0, 'b': 1.0\}, the checkpoint"):
        ExcessLossReward(NAMES, reference=ZERO | {"b": 1.0}).load_state_dict(state)


def test_the_papers_form_is_divided_by_the_probability_and_the_codes_a_perplexity():
    model = tiny_model()
    losses = expected(model, TRAIN)
    paper, code = (TrainingLossReward(NAMES, form=f) for f in ("importance_weighted", "perplexity"))
    shares = torch.tensor([0.8, 0.2]).double()
    torch.testing.assert_close(measured(paper, model, shares.tolist()), losses / shares)
    torch.testing.assert_close(measured(code, model), losses.exp())
    one_left = measured(paper, model, (0.0, 1.0))
    assert one_left[0] == 0
    torch.testing.assert_close(one_left[1], losses[1])


def test_the_old_value_weighs_most_as_in_odm():
    reward = TrainingLossReward(["a"], form="perplexity")
    reward.smooth(torch.tensor([1.0]))
    assert reward.smooth(torch.tensor([2.0])).tolist() == pytest.approx([1.1])


def test_bad_options_and_what_is_not_told_are_refused():
    with pytest.raises(UserError, match="form must be importance_weighted or perplexity, got 'x'"):
        TrainingLossReward(NAMES, form="x")
    with pytest.raises(UserError, match="importance_weighted, but nobody tells the mixture"):
        TrainingLossReward(NAMES).measure(tiny_model(), probes(TRAIN))
    state = TrainingLossReward(NAMES).state_dict()
    with pytest.raises(ValueError, match="form is perplexity, the checkpoint has importance_we"):
        TrainingLossReward(NAMES, form="perplexity").load_state_dict(state)


def _on_a_rank(rank, world_size):
    where = {"rank": rank, "world_size": world_size, "batch_size": 2}
    rewards = [ExcessLossReward(NAMES, reference=ZERO), TrainingLossReward(NAMES)]
    return [measured(reward, tiny_model(), **where) for reward in rewards]


def test_they_are_the_same_on_2_ranks(tmp_path):
    first, second = on_ranks(2, _on_a_rank, tmp_path)
    for one, found, other in zip(_on_a_rank(0, 1), first, second, strict=True):
        torch.testing.assert_close(found, one)
        assert torch.equal(found, other)
