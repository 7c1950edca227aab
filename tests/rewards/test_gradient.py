# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""MultiDDS's cosines against plain autograd, on 1 and on 2 ranks, and what they leave behind."""

import copy

import pytest
import torch
from helpers.hf_models import tiny_llama, tiny_qwen2
from helpers.live_bytes import peak_beside
from helpers.probing import examples, lora_model, probes, shard, torchtune_model
from helpers.ranks import on_ranks
from torch import nn
from torchtune.models.llama3 import llama3
from torchtune.modules import TransformerSelfAttentionLayer
from torchtune.training import set_activation_checkpointing

from mos_tune.errors import UserError
from mos_tune.rewards import GradientReward, measuring, response_log_likelihood

TRAIN = {"a": examples(7, 0), "b": examples(5, 1), "c": examples(4, 2)}
HELD_OUT = {"a": examples(3, 3), "b": examples(6, 4), "c": examples(5, 5)}
NAMES = list(TRAIN)
SILENT = {"tokens": [5, 6, 7], "labels": [-100] * 3}
# Norms and rotary positions are in float32 in torchtune, whatever the model is in.
CLOSE = {"rtol": 1e-5, "atol": 1e-8}


def given(train=TRAIN, held_out=HELD_OUT, **where):
    return probes(train, held_out=probes(held_out, **where), **where)


def measured(model, specialist=None, **where):
    with measuring(model):
        return GradientReward(NAMES, specialist=specialist).measure(model, given(**where))


def expected(model):
    """Every pair's cosine: whole gradients of the mean loss, example by example, held together."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradient(rows):
        losses = []
        for row in rows:
            hidden = model.tok_embeddings(torch.tensor([row["tokens"]]))
            for layer in model.layers:
                hidden = layer(hidden)
            logits = model.output(model.norm(hidden))[0, :-1]
            labels = torch.tensor(row["labels"])[1:]
            losses.append(nn.functional.cross_entropy(logits, labels, reduction="none"))
        count = sum(label != -100 for row in rows for label in row["labels"][1:])
        parts = torch.autograd.grad(torch.cat(losses).sum() / count, parameters)
        return torch.cat([part.flatten() for part in parts])

    train = torch.stack([gradient(TRAIN[name]) for name in NAMES])
    held_out = torch.stack([gradient(HELD_OUT[name]) for name in NAMES])
    return nn.functional.cosine_similarity(train[:, None], held_out[None], dim=2)


@pytest.fixture(scope="module", params=[tiny_llama, tiny_qwen2], ids=["llama3", "tied-qwen2"])
def saved(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    model_type = {"tiny_llama": "LLAMA3", "tiny_qwen2": "QWEN2"}[request.param.__name__]
    return request.param(directory)[1], directory, model_type


@pytest.fixture
def model(saved):
    return torchtune_model(*saved).double()


def test_cosines_agree_with_plain_autograd(model):
    cosines = expected(model)
    assert cosines.std() > 1e-2
    torch.testing.assert_close(measured(model), cosines.mean(dim=1), **CLOSE)


def test_a_specialist_alone_decides(model):
    cosines = expected(model)
    torch.testing.assert_close(measured(model, specialist="b"), cosines[:, 1], **CLOSE)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_micro_batch_does_not_matter(model, batch_size):
    one = measured(model)
    torch.testing.assert_close(measured(model, batch_size=batch_size), one, **CLOSE)


def test_frozen_parameters_do_not_count(model):
    whole = measured(model)
    for parameter in [*model.tok_embeddings.parameters(), *model.layers[0].mlp.parameters()]:
        parameter.requires_grad = False
    torch.testing.assert_close(measured(model), expected(model).mean(dim=1), **CLOSE)
    assert not torch.allclose(measured(model), whole, rtol=1e-3)


def test_in_bfloat16_the_cosines_are_nearly_those(saved):
    exact = measured(torchtune_model(*saved).double())
    rough = measured(torchtune_model(*saved).bfloat16())
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.01)


def test_with_lora_the_gradients_are_those_of_the_adapters(tmp_path):
    model = lora_model(tiny_llama(tmp_path)[1], tmp_path, "LLAMA3")
    cosines = expected(model)
    torch.testing.assert_close(measured(model), cosines.mean(dim=1), **CLOSE)
    whole = expected(torchtune_model(tiny_llama(tmp_path)[1], tmp_path, "LLAMA3").double())
    assert not torch.allclose(cosines, whole, atol=1e-2)


def train_step(model, optimizer):
    tokens = torch.tensor([TRAIN["a"][0]["tokens"]])
    model(tokens).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def state(model, optimizer):
    return copy.deepcopy([model.state_dict(), optimizer.state_dict()])


def assert_same(left, right):
    torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_nothing_is_left_behind(saved):
    model = torchtune_model(*saved)
    model.layers[0].attn.attn_dropout = 0.3  # would change the gradient outside eval mode
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    train_step(model, optimizer)
    model.train()
    before, random_state = state(model, optimizer), torch.get_rng_state()
    first = measured(model)
    assert torch.equal(measured(model), first)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training and torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random_state)
    assert_same(state(model, optimizer), before)


def test_an_error_leaves_no_gradient(model):
    held_out = {name: [*rows, {"tokens": [9999], "labels": [1]}] for name, rows in HELD_OUT.items()}
    with measuring(model), pytest.raises(IndexError):
        GradientReward(NAMES).measure(model, given(held_out=held_out))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_compiled_layers_give_the_same(tmp_path):
    model = torchtune_model(tiny_llama(tmp_path)[1], tmp_path, "LLAMA3").double()
    plain = measured(model)
    for layer in model.layers:
        layer.compile(backend="eager")
    torch.testing.assert_close(measured(model), plain, **CLOSE)


def test_minibatches_without_a_response(model):
    two_of_three = expected(model)[:, [0, 2]].sum(dim=1) / 3
    with measuring(model):
        some = given(held_out=HELD_OUT | {"b": [SILENT]})
        cosines = GradientReward(NAMES).measure(model, some)
        torch.testing.assert_close(cosines, two_of_three, **CLOSE)
        with pytest.raises(UserError, match="the reward of dataset.c is nan"):
            reward = GradientReward(NAMES)
            reward.smooth(reward.measure(model, given(train=TRAIN | {"c": [SILENT]})))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_beside_a_training_step_it_takes_one_float32_vector(dtype):
    sizes = {"vocab_size": 256, "num_layers": 6, "embed_dim": 128, "intermediate_dim": 512}
    model = llama3(**sizes, num_heads=4, num_kv_heads=2, max_seq_len=64).to(dtype)
    vector = 4 * sum(parameter.numel() for parameter in model.parameters())

    def step():
        batch, _ = next(probes(TRAIN, batch_size=7).batches())
        total, _ = response_log_likelihood(model, batch.tokens, batch.labels)
        total.sum().backward()
        model.zero_grad()

    alone = peak_beside(model, step)
    extra = peak_beside(model, lambda: measured(model, batch_size=7)) - alone
    # Sums are taken parameter by parameter, with a copy or two of the largest.
    assert 0.9 * vector < extra < 1.25 * vector


def _on_a_rank(rank, world_size, runs):
    results = []
    for *saved, load, checkpointing, separate in runs:
        model = load(*saved).double()
        model.set_num_output_chunks(8)
        if checkpointing:
            set_activation_checkpointing(model, auto_wrap_policy={TransformerSelfAttentionLayer})
        shard(model, world_size, separate)
        optimizer = torch.optim.AdamW(model.parameters())
        before = state(model, optimizer)
        results.append(measured(model, rank=rank, world_size=world_size, batch_size=2))
        assert all(parameter.grad is None for parameter in model.parameters())
        after = state(model, optimizer)
        for key, value in before[0].items():
            assert torch.equal(after[0][key].to_local(), value.to_local())
        assert before[1] == after[1]
    return results


def test_the_cosines_are_the_same_on_2_ranks_under_fsdp2(tmp_path):
    llama = tiny_llama(tmp_path / "llama")[1], tmp_path / "llama", "LLAMA3"
    qwen2 = tiny_qwen2(tmp_path / "qwen2")[1], tmp_path / "qwen2", "QWEN2"
    runs = [
        (*llama, torchtune_model, False, None),
        (*llama, torchtune_model, True, ["output"]),
        (*qwen2, torchtune_model, True, None),
        (*llama, lora_model, True, None),
    ]
    both = on_ranks(2, _on_a_rank, tmp_path / "ranks", runs)
    for run, first, second in zip(runs, *both, strict=True):
        *saved, load, _, _ = run
        one = expected(load(*saved).double()).mean(dim=1)
        torch.testing.assert_close(first, one, **CLOSE)
        assert torch.equal(first, second)
