# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Every reward on transformers' models against torchtune's with the same weights."""

import copy
from functools import partial

import pytest
import torch
from helpers.hf_models import tiny_llama, tiny_qwen2
from helpers.probing import examples, probes, shard, torchtune_model
from helpers.ranks import on_ranks
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from mos_tune.errors import UserError
from mos_tune.rewards import (
    DifficultyReward,
    GradientReward,
    TransferabilityReward,
    UncertaintyReward,
    hidden_states,
    measuring,
    response_log_likelihood,
)
from mos_tune.rewards.forward import NUM_CHUNKS

TRAIN = {"a": examples(7, 0), "b": examples(5, 1), "c": examples(4, 2)}
HELD_OUT = {"a": examples(3, 3), "b": examples(6, 4), "c": examples(5, 5)}
NAMES = list(TRAIN)
SIZES = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def given(**where):
    return probes(TRAIN, held_out=probes(HELD_OUT, **where), seed=7, **where)


def perturb(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)


def measured(model, **where):
    """Rewards of all kinds, of a model that has moved since Difficulty saw it first."""
    rewards = [
        DifficultyReward(NAMES),
        TransferabilityReward(NAMES),
        GradientReward(NAMES),
        UncertaintyReward(NAMES, passes=2),
    ]
    with measuring(model):
        rewards[0].prepare(model, given(**where))
    perturb(model)
    with measuring(model):
        return torch.stack([reward.measure(model, given(**where)) for reward in rewards])


@pytest.fixture(scope="module", params=[tiny_llama, tiny_qwen2], ids=["llama3", "tied-qwen2"])
def pair(request, tmp_path_factory):
    """A model in transformers, and what torchtune's gives."""
    directory = tmp_path_factory.mktemp("model")
    hf_model, builder = request.param(directory)
    model_type = {"tiny_llama": "LLAMA3", "tiny_qwen2": "QWEN2"}[request.param.__name__]
    return hf_model, measured(torchtune_model(builder, directory, model_type))


@pytest.fixture
def hf_model(pair):
    return copy.deepcopy(pair[0])


def assert_same(found, expected):
    assert (expected.std(dim=1) > 1e-5).all()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def compiled_in_place(model):
    model.compile(backend="eager")
    with torch.no_grad():  # compiled without the hooks to come
        model(torch.tensor([TRAIN["a"][0]["tokens"]]))
    return model


@pytest.mark.parametrize(
    "wrap",
    [lambda model: model, partial(torch.compile, backend="eager"), compiled_in_place],
    ids=["plain", "compiled", "compiled in place"],
)
def test_rewards_are_those_of_torchtune_with_the_same_weights(pair, hf_model, wrap):
    assert_same(measured(wrap(hf_model)), pair[1])


# Without an attention mask: what is padded must not matter.
@pytest.mark.parametrize("batch_size", [1, 100])
def test_the_micro_batch_does_not_matter(pair, hf_model, batch_size):
    assert_same(measured(hf_model, batch_size=batch_size), pair[1])


def train_step(model):
    tokens = torch.tensor([TRAIN["a"][0]["tokens"]])
    model(tokens).logits.square().mean().backward()
    return [parameter.grad for parameter in model.parameters()]


def replicated(model, world_size):
    return model


def in_ddp(model, world_size):
    model = DistributedDataParallel(model)
    train_step(model)
    model.zero_grad()
    return model


def in_fsdp2(model, world_size, separate=False):
    parts = [*model.model.layers, *([model.lm_head] if separate else [])]
    for part in [*parts, model]:
        fully_shard(part, reshard_after_forward=separate or None)
    return model


def _on_a_rank(rank, world_size, models, torchtune):
    where = {"rank": rank, "world_size": world_size, "batch_size": 2}
    results = []
    for model in models:
        wraps = [replicated, in_ddp, in_fsdp2]
        if not model.config.tie_word_embeddings:
            wraps.append(partial(in_fsdp2, separate=True))
        results += [measured(wrap(copy.deepcopy(model), world_size), **where) for wrap in wraps]
    model = torchtune_model(*torchtune)
    shard(model, world_size)
    return [*results, measured(model, **where)]


def test_rewards_are_the_same_on_2_ranks_replicated_or_sharded(tmp_path):
    llama, builder = tiny_llama(tmp_path / "llama")
    qwen2, tied_builder = tiny_qwen2(tmp_path / "qwen2")
    saved = builder, tmp_path / "llama", "LLAMA3"
    both = on_ranks(2, _on_a_rank, tmp_path / "ranks", [llama, qwen2], saved)
    llama_alone = measured(torchtune_model(*saved))
    qwen2_alone = measured(torchtune_model(tied_builder, tmp_path / "qwen2", "QWEN2"))
    expected = [llama_alone] * 4 + [qwen2_alone] * 3 + [llama_alone]
    for first, second, alone in zip(*both, expected, strict=True):
        assert torch.equal(first, second)
        assert_same(first, alone)


def _granite_on_a_rank(rank, world_size, model):
    where = {"rank": rank, "world_size": world_size, "batch_size": 2}
    return measured(in_fsdp2(model, world_size, separate=True), **where)


def test_a_model_that_scales_its_logits_is_sharded_too(tmp_path):
    # FSDP2 gathers for the backward pass when it comes to the model's output, which is then not the
    # tensor that the output projection gave.
    torch.manual_seed(0)
    model = GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=4.0, initializer_range=0.2))
    first, second = on_ranks(2, _granite_on_a_rank, tmp_path, model)
    assert torch.equal(first, second)
    assert_same(first, measured(model))


def _trained_by_ddp(rank, world_size, model):
    model = DistributedDataParallel(model)
    train_step(model)
    before = [parameter.grad.clone() for parameter in model.parameters()]
    with measuring(model):
        GradientReward(NAMES).measure(model, given(rank=rank, world_size=world_size))
    kept = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return before, kept, train_step(model)


def test_ddp_trains_as_before(tmp_path):
    model, _ = tiny_llama(tmp_path / "llama")
    for before, kept, after in on_ranks(2, _trained_by_ddp, tmp_path / "ranks", model):
        assert all(map(torch.equal, before, kept))
        assert all(map(torch.equal, before, after))


def test_a_gradient_that_is_there_neither_counts_nor_gets_lost(hf_model):
    # A loop that zeroes the gradients at the start of a step has the last one's between steps.
    with measuring(hf_model):
        clean = GradientReward(NAMES).measure(hf_model, given())
        gradients = train_step_in_grad(hf_model)
        assert torch.equal(GradientReward(NAMES).measure(hf_model, given()), clean)
    assert all(p.grad is g for p, g in zip(hf_model.parameters(), gradients, strict=True))


@torch.enable_grad()
def train_step_in_grad(model):
    return train_step(model)


def test_lora_of_peft_counts(hf_model, monkeypatch):
    # peft refuses to make an adapter beside torchtune's torchao, which has no part in this one.
    monkeypatch.setattr("peft.tuners.lora.torchao.is_torchao_available", lambda: False)
    adapted = get_peft_model(hf_model, LoraConfig(target_modules=["q_proj", "down_proj"], r=4))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    merged = copy.deepcopy(adapted).merge_and_unload()
    for reward in (TransferabilityReward(NAMES), UncertaintyReward(NAMES, passes=2)):
        with measuring(adapted), measuring(merged):
            found, right = (reward.measure(model, given()) for model in (adapted, merged))
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-6)


def test_the_output_projection_sees_response_tokens_only_in_equal_chunks(hf_model):
    rows, projection = [], hf_model.lm_head.forward

    def counted(hidden):
        rows.append(hidden[..., 0].numel())
        return projection(hidden)

    hf_model.lm_head.forward = counted  # as accelerate's hooks do
    train = TRAIN["a"]
    with measuring(hf_model):
        TransferabilityReward(["a"]).measure(hf_model, probes({"a": train}))
        assert rows == []
        DifficultyReward(["a"]).prepare(hf_model, probes({"a": train}, batch_size=len(train)))
    responses = sum(label != -100 for row in train for label in row["labels"][1:])
    assert sum(rows) == responses and len(rows) == NUM_CHUNKS
    assert max(rows) <= -(-responses // NUM_CHUNKS)
    assert hf_model.lm_head.forward is counted


def test_the_model_is_left_as_it_was(hf_model):
    tokens = torch.tensor([TRAIN["a"][0]["tokens"]])
    before = hf_model(tokens).logits
    with measuring(hf_model):
        assert torch.equal(hidden_states(hf_model, tokens), hf_model.model(tokens)[0])
        with pytest.raises(IndexError):
            response_log_likelihood(hf_model, tokens, tokens + 9999)
    assert torch.equal(hf_model(tokens).logits, before)
    assert "forward" not in hf_model.lm_head.__dict__ and not hf_model._forward_hooks


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (Gemma2ForCausalLM, Gemma2Config(**SIZES, head_dim=16, final_logit_softcapping=2.0)),
        (Cohere2ForCausalLM, Cohere2Config(**SIZES, logit_scale=0.25)),
        (GraniteForCausalLM, GraniteConfig(**SIZES, logits_scaling=4.0)),
    ],
    ids=["gemma2", "cohere2", "granite"],
)
def test_what_a_model_does_to_its_logits_counts(kind, config):
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        model.lm_head.weight.normal_(std=0.5)
    row = TRAIN["a"][0]
    tokens, labels = torch.tensor([row["tokens"]]), torch.tensor([row["labels"]])
    with measuring(model):
        total, _ = response_log_likelihood(model, tokens, labels)
        right = model(tokens, labels=labels).loss
        bare = torch.nn.functional.cross_entropy(
            model.lm_head(model.model(tokens)[0])[0, :-1], labels[0, 1:]
        )
    count = (labels[:, 1:] != -100).sum()
    torch.testing.assert_close(-total[0] / count, right.double(), rtol=1e-5, atol=0)
    assert abs(bare - right) > 0.01


class Doubled(LlamaForCausalLM):
    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = 2 * output.logits
        return output


def test_what_else_a_model_does_to_its_logits_is_refused(tmp_path):
    tiny_llama(tmp_path)
    model = Doubled.from_pretrained(tmp_path)
    tokens = torch.tensor([[1, 2, 3]])
    with measuring(model), pytest.raises(UserError, match="Doubled changes its logits after"):
        response_log_likelihood(model, tokens, tokens)
    # A loss that has diverged is no such change: the reward's own error speaks of it.
    model = LlamaForCausalLM.from_pretrained(tmp_path)
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    with measuring(model):
        assert response_log_likelihood(model, tokens, tokens)[0].isnan().all()


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(UserError, match="Identity has no output projection .* needs norm, output"):
        response_log_likelihood(torch.nn.Identity(), torch.ones(1, 2), torch.ones(1, 2))


def test_layers_without_a_known_feed_forward_are_refused_by_dropout():
    model = MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=2))
    with measuring(model), pytest.raises(UserError, match="Mixtral.* has them in 0 of 2"):
        UncertaintyReward(NAMES).measure(model, given())
