# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The gain against the change that a step makes, on 1 and 2 ranks, and what it leaves behind."""

import copy
import re

import pytest
import torch
from helpers.hf_models import tiny_llama
from helpers.plain_loop import TinyLM, train
from helpers.probing import examples, lora_model, probes, shard, torchtune_model
from helpers.ranks import on_ranks
from torch import nn

from mos_tune.errors import UserError
from mos_tune.rewards import GradientReward, HeldOutGainReward, Progress, measuring

TRAIN = {name: examples(5 + seed, seed, vocab_size=32) for seed, name in enumerate("ab")}
HELD_OUT = {name: examples(4, seed, vocab_size=32) for seed, name in enumerate("abt", start=5)}
NAMES = list(TRAIN)
CLOSE = {"rtol": 1e-6, "atol": 1e-10}


def loss(model, rows):
    """Mean loss per response token, row by row and without padding."""
    losses = []
    for row in rows:
        logits, labels = model(torch.tensor([row["tokens"]]))[0, :-1], torch.tensor(row["labels"])
        losses.append(nn.functional.cross_entropy(logits, labels[1:], reduction="none"))
    count = sum(label != -100 for row in rows for label in row["labels"][1:])
    return torch.cat(losses).sum() / count


def gradient(model, rows):
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.autograd.grad(loss(model, rows), parameters)


def measured(model, train=TRAIN, held_out=HELD_OUT, objective=None, optimizer=None, **options):
    where = options.pop("where", {})
    progress = Progress(1, torch.ones(2) / 2, {}, {}, optimizer)
    held_out = held_out and probes(held_out, **where)
    some = probes(train, held_out=held_out, objective=objective or {}, progress=progress, **where)
    with measuring(model):
        return HeldOutGainReward(list(train), **options).measure(model, some)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return TinyLM().double()


def drop_per_lr(model, direction, held_out, weights, lr=1e-5):
    """How much a step along a direction lowers the weighted held-out loss, per learning rate."""

    def after(lr):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for parameter, part in zip(moved.parameters(), direction, strict=True):
                parameter -= lr * part
            losses = torch.stack([loss(moved, held_out[name]) for name in weights])
        share = torch.tensor(list(weights.values())).double()
        return (losses * share).sum() / share.sum()

    return (after(-lr) - after(lr)) / (2 * lr)


WEIGHTS = {"equal": None, "weighed": {"a": 1.0, "b": 3.0}, "target": {"t": 0.5}}


@pytest.mark.parametrize("objective", WEIGHTS.values(), ids=WEIGHTS)
def test_it_is_the_drop_of_the_objective_per_learning_rate(model, objective):
    weights = objective or dict.fromkeys(HELD_OUT, 1.0)
    gains = measured(model, objective=objective)
    for name, gain in zip(NAMES, gains, strict=True):
        drop = drop_per_lr(model, gradient(model, TRAIN[name]), HELD_OUT, weights)
        torch.testing.assert_close(gain, drop, rtol=1e-4, atol=0)
    assert gains.std() > 1e-2 * gains.abs().mean()


def test_a_specialist_is_the_objective(model):
    only = measured(model, objective={"b": 1.0})
    torch.testing.assert_close(measured(model, specialist="b"), only, **CLOSE)


def test_copies_of_a_dataset_gain_the_same(model):
    gains = measured(model, train={"a": TRAIN["a"], "b": TRAIN["b"], "copy": TRAIN["a"]})
    assert gains[0] == gains[2] != gains[1]


def test_a_dataset_known_by_heart_gains_little_though_its_cosine_need_not(model):
    known = {"a": TRAIN["a"], "b": TRAIN["b"]}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        loss(model, known["a"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    gains = measured(model, objective={"a": 1.0}, held_out={"a": known["a"]})
    assert 0 < gains[0] < 1e-3
    some = probes(known, held_out=probes({"a": known["a"]}))
    with measuring(model):
        cosines = GradientReward(NAMES, specialist="a").measure(model, some)
    assert cosines[0] > 0.99


def test_shuffled_answers_gain_less_than_right_ones(model):
    def rows(count, seed, *, right):
        generator = torch.Generator().manual_seed(seed)
        asked, drawn = torch.randint(1, 32, (2, count), generator=generator).tolist()
        pairs = zip(asked, asked if right else drawn, strict=True)
        return [{"tokens": [one, answer], "labels": [-100, answer]} for one, answer in pairs]

    for _ in range(3):  # the longer it has learned, the less there is in answers' frequencies
        gains = measured(
            model,
            train={"right": rows(64, 0, right=True), "shuffled": rows(64, 1, right=False)},
            held_out={"right": rows(64, 2, right=True)},
        )
        assert gains[1] < 0.1 * gains[0]
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(5):
            loss(model, rows(64, 3, right=True)).backward()
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("amsgrad", [False, True])
def test_preconditioned_it_is_that_of_adams_step(model, amsgrad):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.8, 0.9), amsgrad=amsgrad)
    for name in ["a", "b", "b", "a"]:
        loss(model, TRAIN[name]).backward()
        optimizer.step()
        optimizer.zero_grad()
    roots = []
    for parameter in model.parameters():
        state = optimizer.state[parameter]
        moment = state["max_exp_avg_sq" if amsgrad else "exp_avg_sq"]
        roots.append((moment / (1 - 0.9**4)).sqrt() + 1e-8)
    gains = measured(model, preconditioned=True, optimizer=optimizer)
    for name, gain in zip(NAMES, gains, strict=True):
        plain = gradient(model, TRAIN[name])
        step = [part / root for part, root in zip(plain, roots, strict=True)]
        drop = drop_per_lr(model, step, HELD_OUT, dict.fromkeys(HELD_OUT, 1.0), lr=1e-7)
        torch.testing.assert_close(gain, drop, rtol=1e-4, atol=0)


def test_preconditioned_it_asks_for_adam_before_step_1(model):
    reward = HeldOutGainReward(NAMES, preconditioned=True)
    sgd = torch.optim.SGD(model.parameters(), lr=1e-2)
    told = probes(TRAIN, progress=Progress(0, torch.ones(2) / 2, {}, {}, sgd))
    with pytest.raises(UserError, match="reward.preconditioned is True, .* optimizer is SGD; use"):
        reward.prepare(model, told)
    with pytest.raises(UserError, match="the optimizer is NoneType"):
        reward.prepare(model, probes(TRAIN))
    with pytest.raises(UserError, match="reward.preconditioned must be True or False, got 1"):
        HeldOutGainReward(NAMES, preconditioned=1)
    with pytest.raises(ValueError, match="preconditioned is False, the checkpoint has True"):
        HeldOutGainReward(NAMES).load_state_dict(reward.state_dict())


def test_without_held_out_sets_two_halves_of_the_training_probe_serve(model, caplog):
    train = {name: rows[0::2] for name, rows in TRAIN.items()}
    held_out = {name: rows[1::2] for name, rows in TRAIN.items()}
    expected = measured(model, train=train, held_out=held_out)
    torch.testing.assert_close(measured(model, held_out=None), expected, **CLOSE)
    caplog.clear()
    reward = HeldOutGainReward(NAMES)
    with measuring(model):
        for _ in range(2):
            reward.measure(model, probes(TRAIN))
    assert len(re.findall("There are no held-out sets: the gain reward", caplog.text)) == 1
    with pytest.raises(UserError, match="dataset.b has 1 example; give validation"):
        measured(model, train=TRAIN | {"b": TRAIN["b"][:1]}, held_out=None)


def state(model, optimizer):
    return copy.deepcopy([model.state_dict(), optimizer.state_dict()])


def test_nothing_is_left_behind(model):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss(model, TRAIN["a"]).backward()
    optimizer.step()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    before, random_state = state(model, optimizer), torch.get_rng_state()
    for held_out in (HELD_OUT, None):
        measured(model, held_out=held_out, preconditioned=True, optimizer=optimizer)
    torch.testing.assert_close(state(model, optimizer), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random_state) and model.training
    for parameter, kept in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, kept)


def test_a_run_learns_from_it_and_from_its_own_optimizer(tmp_path):
    def reward(names):
        return HeldOutGainReward(names, preconditioned=True, batch_size=4)

    _, events = train(tmp_path, TRAIN, reward, held_out=HELD_OUT, objective={"t": 1.0})
    updates = [event for event in events if event["event"] == "update"]
    assert len(updates) == 2 and updates[0]["raw_rewards"] != updates[1]["raw_rewards"]


LLAMA_TRAIN = {"a": examples(7, 0), "b": examples(5, 1)}
LLAMA_HELD_OUT = {"a": examples(3, 3), "b": examples(6, 4)}
CASES = [
    (torchtune_model, True, False),
    (torchtune_model, False, True),
    (lora_model, True, True),
]


def _gains(saved, load, preconditioned, where, world_size=1, sharded=False):
    model = load(*saved).double()
    if sharded:
        model.set_num_output_chunks(8)
        shard(model, world_size)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.0)
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.1) + parameter.detach().abs()
    optimizer.step()
    optimizer.zero_grad()
    options = {"preconditioned": preconditioned, "optimizer": optimizer, "where": where}
    gains = [
        measured(model, LLAMA_TRAIN, held_out, **options) for held_out in (LLAMA_HELD_OUT, None)
    ]
    return torch.cat(gains)


def _on_a_rank(rank, world_size, saved):
    where = {"rank": rank, "world_size": world_size, "batch_size": 2}
    return [
        _gains(saved, load, preconditioned, where, world_size, sharded)
        for load, sharded, preconditioned in CASES
    ]


def test_it_is_the_same_on_2_ranks_sharded_replicated_and_with_lora(tmp_path):
    saved = tiny_llama(tmp_path / "llama")[1], tmp_path / "llama", "LLAMA3"
    both = on_ranks(2, _on_a_rank, tmp_path / "ranks", saved)
    for (load, _, preconditioned), first, second in zip(CASES, *both, strict=True):
        one = _gains(saved, load, preconditioned, {})
        torch.testing.assert_close(first, one, rtol=1e-5, atol=1e-8)
        assert torch.equal(first, second)
