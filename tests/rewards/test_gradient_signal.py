# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Signal and noise against every example's own gradient, their bias, and what they leave behind."""

import copy

import pytest
import torch
from helpers.hf_models import tiny_llama
from helpers.plain_loop import TinyLM
from helpers.probing import examples, lora_model, probes, shard, torchtune_model
from helpers.ranks import on_ranks
from torch import nn

from mos_tune.errors import UserError
from mos_tune.rewards import GradientNormReward, GradientSignalReward, measuring

TRAIN = {name: examples(9 + seed, seed, vocab_size=32) for seed, name in enumerate("ab")}
NAMES = list(TRAIN)
SILENT = {"tokens": [5, 6, 7], "labels": [-100] * 3}


@pytest.fixture
def model():
    torch.manual_seed(3)
    return TinyLM().double()


def measured(model, train=TRAIN, kind=GradientSignalReward, where=None, **options):
    with measuring(model):
        return kind(list(train), **options).measure(model, probes(train, **(where or {})))


def each_gradient(model, rows):
    """Every example's gradient of its mean loss per response token, shape ``[E, P]``."""
    gradients = []
    for row in rows:
        logits, labels = model(torch.tensor([row["tokens"]]))[0, :-1], torch.tensor(row["labels"])
        loss = nn.functional.cross_entropy(logits, labels[1:])
        parts = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
        gradients.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(gradients)


def test_with_a_piece_for_each_example_it_is_the_textbooks(model):
    found = measured(model, pieces=100)
    for name, (signal, noise) in zip(NAMES, found, strict=True):
        gradients = each_gradient(model, TRAIN[name])
        count, products = len(gradients), gradients @ gradients.T
        pairs = (products.sum() - products.trace()) / (count * (count - 1))
        torch.testing.assert_close(signal, pairs)
        torch.testing.assert_close(noise, gradients.var(dim=0).sum())


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_micro_batch_does_not_matter_but_examples_without_response_are_left_out(
    model, batch_size
):
    one = measured(model, pieces=3)
    where = {"batch_size": batch_size}
    torch.testing.assert_close(measured(model, pieces=3, where=where), one)
    # Every third row belongs to one piece: a silent one at the end changes no piece's others.
    silent = {name: [*rows, SILENT] for name, rows in TRAIN.items()}
    torch.testing.assert_close(measured(model, silent, pieces=3, where=where), one)


class LinearLM(nn.Module):
    """Logits that are parameters: an example's gradient is a function of its answer alone."""

    def __init__(self, vocab_size):
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(-1, 1, vocab_size, dtype=torch.float64))
        self.norm, self.output = nn.Identity(), nn.Identity()

    def forward(self, tokens):
        return self.unembed(self.logits.expand(*tokens.shape, -1))

    def unembed(self, hidden):
        return self.output(self.norm(hidden))


@pytest.mark.parametrize("pieces", [2, 3])
def test_both_are_unbiased_within_3_standard_errors_over_2000_draws(pieces):
    vocab_size, draws, count = 5, 2000, 8
    model = LinearLM(vocab_size)
    share = torch.tensor([0.4, 0.1, 0.2, 0.05, 0.25]).double()
    # The gradient of -log p[y] is p - onehot(y), whose mean and covariance are known.
    p = model.logits.detach().softmax(dim=0)
    signal = (p - share).square().sum()
    noise = (share * (1 - share)).sum()
    generator = torch.Generator().manual_seed(pieces)
    answers = torch.multinomial(share, draws * count, replacement=True, generator=generator)
    found = []
    for drawn in answers.view(draws, count).tolist():
        rows = [{"tokens": [0, answer], "labels": [-100, answer]} for answer in drawn]
        found.append(measured(model, {"a": rows}, pieces=pieces, where={"batch_size": 8})[0])
    values = torch.stack(found)
    errors = (values.mean(dim=0) - torch.stack([signal, noise])).abs()
    assert (errors < 3 * values.std(dim=0) / draws**0.5).all()
    # The plain squared norm is not: its bias is more than that.
    assert noise / count > 3 * values[:, 0].std() / draws**0.5
    assert (values[:, 0] < 0).any()


def test_the_mean_norm_is_that_of_every_examples_gradient(model):
    found = measured(model, TRAIN | {"b": [*TRAIN["b"], SILENT]}, kind=GradientNormReward)
    means = [each_gradient(model, TRAIN[name]).norm(dim=1).mean() for name in NAMES]
    torch.testing.assert_close(found, torch.stack(means))


@pytest.mark.parametrize("kind", [GradientSignalReward, GradientNormReward])
def test_a_dataset_without_any_response_is_named(model, kind):
    reward = kind(NAMES)
    with measuring(model), pytest.raises(UserError, match="the reward of dataset.b is nan"):
        reward.smooth(reward.measure(model, probes(TRAIN | {"b": [SILENT, SILENT]})))


@pytest.mark.parametrize("kind", [GradientSignalReward, GradientNormReward])
def test_nothing_is_left_behind(model, kind):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.tensor([[1, 2, 3]])).square().mean().backward()
    optimizer.step()
    before = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    measured(model, kind=kind)
    after = [model.state_dict(), optimizer.state_dict()]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    for parameter, kept in zip(model.parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pieces": 1}, "reward.pieces must be a whole number of at least 2, got 1"),
        ({"batch_size": 1}, "reward.batch_size must be a whole number of at least 2, got 1"),
        ({"specialist": "b"}, "reward.specialist is 'b', but GradientSignalReward has no form"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        GradientSignalReward(NAMES, **options)


def test_a_single_example_is_too_few(model):
    with pytest.raises(UserError, match="need 2 examples of a dataset, but dataset.b has 1"):
        measured(model, TRAIN | {"b": TRAIN["b"][:1]})


LLAMA_TRAIN = {"a": examples(7, 0), "b": examples(5, 1)}
CASES = [(torchtune_model, True), (torchtune_model, False), (lora_model, True)]


def _both(saved, load, where, world_size=1, sharded=False):
    model = load(*saved).double()
    if sharded:
        model.set_num_output_chunks(8)
        shard(model, world_size)
    signals = measured(model, LLAMA_TRAIN, where=where, pieces=3)
    norms = measured(model, LLAMA_TRAIN, where=where, kind=GradientNormReward)
    return torch.cat([signals, norms[:, None]], dim=1)


def _on_a_rank(rank, world_size, saved):
    where = {"rank": rank, "world_size": world_size, "batch_size": 2}
    return [_both(saved, load, where, world_size, sharded) for load, sharded in CASES]


def test_they_are_the_same_on_2_ranks_sharded_replicated_and_with_lora(tmp_path):
    saved = tiny_llama(tmp_path / "llama")[1], tmp_path / "llama", "LLAMA3"
    both = on_ranks(2, _on_a_rank, tmp_path / "ranks", saved)
    for (load, _), first, second in zip(CASES, *both, strict=True):
        torch.testing.assert_close(first, _both(saved, load, {}), rtol=1e-5, atol=1e-10)
        assert torch.equal(first, second)
