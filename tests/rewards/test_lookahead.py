# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The look-ahead against steps that are taken and derivatives of second order; nothing is left."""

import copy

import pytest
import torch
from helpers.hf_models import tiny_llama
from helpers.plain_loop import TinyLM, train
from helpers.probing import examples, lora_model, probes, shard, torchtune_model
from helpers.ranks import on_ranks
from torch import nn
from torch.func import functional_call

from mos_tune.errors import UserError
from mos_tune.rewards import GradientSignalReward, LookaheadReward, Progress, measuring

TRAIN = {name: examples(5 + seed, seed, vocab_size=32) for seed, name in enumerate("ab")}
NAMES = list(TRAIN)
SILENT = {"tokens": [5, 6, 7], "labels": [-100] * 3}


@pytest.fixture
def model():
    torch.manual_seed(3)
    return TinyLM().double()


def at(lr, parameters=()):
    optimizer = torch.optim.SGD(list(parameters) or [nn.Parameter(torch.zeros(1))], lr=lr)
    return Progress(1, torch.ones(2) / 2, {}, {}, optimizer)


def measured(model, lr, mode="step", train=TRAIN, where=None):
    some = probes(train, progress=at(lr, model.parameters()), **(where or {}))
    with measuring(model):
        return LookaheadReward(list(train), mode=mode).measure(model, some)


def losses(model, rows, parameters=None):
    """Every example's mean loss over its response tokens, one at a time, shape ``[E]``."""
    found = []
    for row in rows:
        tokens, labels = torch.tensor([row["tokens"]]), torch.tensor(row["labels"])
        logits = functional_call(model, parameters or {}, tokens)[0, :-1]
        found.append(nn.functional.cross_entropy(logits, labels[1:]))
    return torch.stack(found)


@pytest.mark.parametrize("lr", [1e-3, 1.0])
def test_it_is_the_relative_drop_of_a_step_that_is_taken(model, lr):
    found = measured(model, lr)
    for name, drop in zip(NAMES, found, strict=True):
        moved = copy.deepcopy(model)
        losses(moved, TRAIN[name]).mean().backward()
        torch.optim.SGD(moved.parameters(), lr=lr).step()
        before, after = losses(model, TRAIN[name]), losses(moved, TRAIN[name])
        torch.testing.assert_close(
            drop, ((before - after) / before).mean().detach(), rtol=1e-6, atol=0
        )


def test_to_second_order_it_is_the_squared_norm_less_the_curvature(model):
    lr, rows = 1e-4, TRAIN["a"][:1]  # one example: its loss times the ratio is the drop itself
    parameters = dict(model.named_parameters())
    drop = measured(model, lr, train={"a": rows})[0] * losses(model, rows)[0].detach()

    def loss(parameters):
        return losses(model, rows, parameters)[0]

    gradient = torch.func.grad(loss)(parameters)
    _, along = torch.func.jvp(torch.func.grad(loss), (parameters,), (gradient,))
    square = sum(part.square().sum() for part in gradient.values())
    curvature = sum((gradient[name] * along[name]).sum() for name in gradient)
    expected = lr * square - lr**2 * curvature / 2
    assert abs(drop - expected) < 1e-6 * lr * square
    # The second term is there: without it, the difference would be seen.
    assert abs(drop - lr * square) > 10 * abs(drop - expected)


def test_a_step_that_is_too_long_hurts_and_says_so(model):
    assert (measured(model, 1e3) < 0).all()


def test_by_taylor_it_is_the_signal_over_the_loss(model):
    lr = 1e-2
    with measuring(model):
        signals = GradientSignalReward(NAMES).measure(model, probes(TRAIN))[:, 0]
    means = torch.stack([losses(model, rows).mean().detach() for rows in TRAIN.values()])
    torch.testing.assert_close(measured(model, lr, "taylor"), lr * signals / means)


@pytest.mark.parametrize("mode", ["step", "taylor"])
def test_micro_batches_and_examples_without_a_response_do_not_matter(model, mode):
    one = measured(model, 0.1, mode)
    torch.testing.assert_close(measured(model, 0.1, mode, where={"batch_size": 100}), one)
    silent = {name: [*rows, SILENT] for name, rows in TRAIN.items()}
    if mode == "step":
        torch.testing.assert_close(measured(model, 0.1, mode, train=silent), one)
    reward = LookaheadReward(NAMES, mode=mode)
    some = probes(TRAIN | {"b": [SILENT, SILENT]}, progress=at(0.1))
    with measuring(model), pytest.raises(UserError, match="the reward of dataset.b is nan"):
        reward.smooth(reward.measure(model, some))


@pytest.mark.parametrize("mode", ["step", "taylor"])
def test_weights_gradients_and_optimizer_are_bit_equal_afterwards(mode):
    model = TinyLM()
    model.embedding.weight.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.3)
    losses(model, TRAIN["a"]).mean().backward()
    optimizer.step()
    before = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
    gradients = [parameter.grad for parameter in model.parameters()]
    measured(model, 0.3, mode)
    torch.testing.assert_close([model.state_dict(), optimizer.state_dict()], before, rtol=0, atol=0)
    assert all(p.grad is kept for p, kept in zip(model.parameters(), gradients, strict=True))


def test_weights_are_put_back_after_an_error(model, monkeypatch):
    before = copy.deepcopy(model.state_dict())
    # Two micro-batches of 8 pieces for the gradient; then the first piece after the step.
    calls = [None] * 17

    def fails(hidden, forward=model.output.forward):
        calls.pop()
        return forward(hidden)

    monkeypatch.setattr(model.output, "forward", fails)
    with pytest.raises(IndexError):
        measured(model, 0.3)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_what_it_needs_is_checked_before_step_1(model):
    with pytest.raises(UserError, match="reward.mode must be step or taylor, got 'leap'"):
        LookaheadReward(NAMES, mode="leap")
    with pytest.raises(UserError, match="specialist is 'b', but LookaheadReward has no form"):
        LookaheadReward(NAMES, specialist="b")
    told = probes(TRAIN, progress=at(0.1))
    with pytest.raises(
        UserError, match="mode is step, but weights are in torch.bfloat16, .* taylor"
    ):
        LookaheadReward(NAMES).prepare(model.bfloat16(), told)
    LookaheadReward(NAMES, mode="taylor").prepare(model.bfloat16(), told)
    with pytest.raises(UserError, match="learning rate, not known here"):
        LookaheadReward(NAMES).prepare(model, probes(TRAIN))


def test_a_run_takes_its_own_learning_rate(tmp_path):
    _, events = train(tmp_path, TRAIN, LookaheadReward, lr=1e-2)
    updates = [event for event in events if event["event"] == "update"]
    assert len(updates) == 2
    assert all(0 < drop < 1 for update in updates for drop in update["raw_rewards"].values())
    assert updates[0]["rewards"] == updates[0]["raw_rewards"]


LLAMA_TRAIN = {"a": examples(7, 0), "b": examples(5, 1)}
CASES = [(torchtune_model, True), (torchtune_model, False), (lora_model, True)]


def _drops(saved, load, where, world_size=1, sharded=False):
    model = load(*saved).double()
    if sharded:
        model.set_num_output_chunks(8)
        shard(model, world_size)

    def local():
        values = model.state_dict().values()
        return [value.to_local() if sharded else value for value in values]

    before = [value.clone() for value in local()]
    found = [measured(model, 0.05, mode, LLAMA_TRAIN, where) for mode in ("step", "taylor")]
    assert all(torch.equal(new, old) for new, old in zip(local(), before, strict=True))
    return torch.cat(found)


def _on_a_rank(rank, world_size, saved):
    where = {"rank": rank, "world_size": world_size, "batch_size": 2}
    return [_drops(saved, load, where, world_size, sharded) for load, sharded in CASES]


def test_it_is_the_same_on_2_ranks_sharded_replicated_and_with_lora(tmp_path):
    saved = tiny_llama(tmp_path / "llama")[1], tmp_path / "llama", "LLAMA3"
    both = on_ranks(2, _on_a_rank, tmp_path / "ranks", saved)
    for (load, _), first, second in zip(CASES, *both, strict=True):
        torch.testing.assert_close(first, _drops(saved, load, {}), rtol=1e-5, atol=1e-10)
        assert torch.equal(first, second)
