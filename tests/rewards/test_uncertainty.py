# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""MultiUAT's measures against transformers with the same masks, on 1 and on 2 ranks."""

from contextlib import contextmanager

import pytest
import torch
from helpers.hf_models import tiny_gemma, tiny_llama
from helpers.probing import examples, probes, shard, torchtune_model
from helpers.ranks import on_ranks
from torchtune.models.llama3 import lora_llama3
from torchtune.modules import TransformerSelfAttentionLayer
from torchtune.training import set_activation_checkpointing

from mos_tune.errors import UserError
from mos_tune.rewards import UncertaintyReward, measuring
from mos_tune.rewards.dropout import mask_seed

HELD_OUT = {"a": examples(4, 0), "b": examples(3, 1)}
NAMES = list(HELD_OUT)
MEASURES = ["expected_probability", "predicted_probability", "variance", "entropy"]
SEED = 7
SILENT = {"tokens": [5, 6, 7], "labels": [-100] * 3}


def measured(model, measure, held_out=HELD_OUT, seed=SEED, where=None, **options):
    where = where or {}
    reward = UncertaintyReward(NAMES, measure=measure, **{"passes": 3, **options})
    with measuring(model):
        train = probes(held_out, held_out=probes(held_out, **where), seed=seed, **where)
        return reward.measure(model, train)


@contextmanager
def masked(hf_model, seed, dropout):
    """The masks of one example and pass, in transformers."""
    generator = torch.Generator().manual_seed(seed)

    def drop(module, inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        drawn = torch.rand(hidden.shape[1:], generator=generator)
        hidden = hidden * (drawn >= dropout) / (1 - dropout)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    branches = [part for layer in hf_model.model.layers for part in (layer.self_attn, layer.mlp)]
    hooks = [branch.register_forward_hook(drop) for branch in branches]
    yield
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def expected(hf_model, passes=3, dropout=0.1):
    """Every measure, token by token as the docstring has it, without padding."""
    results = []
    for number, rows in enumerate(HELD_OUT.values()):
        per_example = []
        for index, row in enumerate(rows):
            tokens = torch.tensor(row["tokens"])
            p = []
            for turn in range(passes):
                with masked(hf_model, mask_seed(SEED, number, index, turn), dropout):
                    p.append(hf_model(tokens[None]).logits[0].double().softmax(dim=-1))
            answers = [k for k in range(1, len(tokens)) if row["labels"][k] != -100]
            own = torch.tensor([[q[k - 1, tokens[k]] for k in answers] for q in p])
            best = torch.tensor([[q[k - 1].max() for k in answers] for q in p])
            entropy = torch.tensor(
                [[-(q[k - 1] * q[k - 1].log()).sum() for k in answers] for q in p]
            )
            variance = ((own - own.mean(dim=0)) ** 2).mean(dim=0)
            per_example.append([1 - own.mean(), 1 - best.mean(), variance.mean(), entropy.mean()])
        results.append(torch.tensor(per_example).double().mean(dim=0))
    return dict(zip(MEASURES, torch.stack(results, dim=1), strict=True))


@pytest.fixture(
    scope="module",
    params=[(tiny_llama, "LLAMA3"), (tiny_gemma, "GEMMA")],
    ids=["llama3", "gemma"],
)
def saved(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    hf_model, builder = request.param[0](directory)
    return hf_model, (builder, directory, request.param[1])


@pytest.fixture
def model(saved):
    return torchtune_model(*saved[1])


@pytest.mark.parametrize("measure", MEASURES)
def test_the_measures_agree_with_transformers_under_the_same_masks(saved, model, measure):
    right = expected(saved[0])[measure]
    torch.testing.assert_close(measured(model, measure), right, rtol=1e-4, atol=1e-7)
    assert right.std() > 1e-4 * right.mean() > 0


@pytest.mark.parametrize("measure", MEASURES)
def test_without_dropout_the_model_is_certain_of_its_probabilities(saved, model, measure):
    found = measured(model, measure, dropout=0)
    if measure == "variance":
        assert found.tolist() == [0, 0]
    else:
        right = expected(saved[0], passes=1, dropout=0)[measure]
        torch.testing.assert_close(found, right, rtol=1e-4, atol=0)


def test_a_specialist_counts_twice(model):
    once = measured(model, "entropy")
    assert measured(model, "entropy", specialist="b").tolist() == [once[0], 2 * once[1]]


def test_masks_are_a_function_of_the_seed_alone(model):
    first = measured(model, "variance")
    assert torch.equal(measured(model, "variance"), first)
    assert not torch.allclose(measured(model, "variance", seed=SEED + 1), first, rtol=1e-3)
    for batch_size in (1, 100):
        other = measured(model, "variance", where={"batch_size": batch_size})
        torch.testing.assert_close(other, first, rtol=1e-4, atol=0)


def test_the_model_and_the_random_state_are_left_as_they_were(model):
    tokens = torch.tensor([HELD_OUT["a"][0]["tokens"]])
    before, random_state = model(tokens), torch.get_rng_state()
    model.train()
    measured(model, "variance")
    with pytest.raises(IndexError):
        measured(model, "variance", held_out=HELD_OUT | {"b": [{"tokens": [9999], "labels": [1]}]})
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.training and torch.equal(model(tokens), before)


def test_dropout_of_the_model_s_own_is_off_meanwhile(model):
    plain = measured(model, "variance")
    for layer in model.layers:
        layer.attn.attn_dropout = 0.5
    model.train()
    assert torch.equal(measured(model, "variance"), plain)


@pytest.mark.parametrize("measure", MEASURES)
def test_in_bfloat16_the_measures_are_nearly_those(model, measure):
    exact = measured(model, measure)
    torch.testing.assert_close(measured(model.bfloat16(), measure), exact, rtol=0.05, atol=0)


def test_with_lora_the_measures_are_those_of_the_merged_model(tmp_path):
    builder = tiny_llama(tmp_path)[1]
    model = torchtune_model(builder, tmp_path, "LLAMA3")
    sizes = {key: value for key, value in builder.items() if key != "_component_"}
    options = {"lora_attn_modules": ["q_proj"], "lora_rank": 4, "lora_alpha": 8}
    adapted = lora_llama3(**sizes, **options, lora_dropout=0.5)
    adapted.load_state_dict(model.state_dict(), strict=False)
    for layer, plain in zip(adapted.layers, model.layers, strict=True):
        query = layer.attn.q_proj
        torch.nn.init.normal_(query.lora_b.weight, std=0.1)
        change = query.alpha / query.rank * query.lora_b.weight @ query.lora_a.weight
        plain.attn.q_proj.weight.data += change.detach()
    adapted.train()
    found = measured(adapted, "variance")
    torch.testing.assert_close(found, measured(model, "variance"), rtol=1e-4, atol=0)


def test_compiled_layers_drop_out_too(tmp_path):
    model = torchtune_model(tiny_llama(tmp_path)[1], tmp_path, "LLAMA3")
    plain = measured(model, "variance")
    for layer in model.layers:
        layer.compile(backend="eager")
    with measuring(model):  # compiled for eval mode and these very shapes, without hooks
        for batch, _ in probes(HELD_OUT).batches():
            model(batch.tokens)
    torch.testing.assert_close(measured(model, "variance"), plain, rtol=1e-5, atol=0)


def test_never_more_logits_than_one_chunk(model):
    rows = []
    output = model.output
    if not isinstance(output, torch.nn.Module):
        pytest.skip("a tied output layer takes no hook")
    output.register_forward_hook(lambda module, args, out: rows.append(len(out)))
    measured(model, "entropy", where={"batch_size": 4})
    responses = sum(label != -100 for row in HELD_OUT["a"] for label in row["labels"][1:])
    assert max(rows) <= -(-responses // 8)


def test_examples_without_a_response_are_left_out(model):
    held_out = HELD_OUT | {"b": [*HELD_OUT["b"], SILENT]}
    with_silent = measured(model, "entropy", held_out)
    torch.testing.assert_close(with_silent, measured(model, "entropy"), rtol=1e-5, atol=0)


def test_another_measure_does_not_resume_from_a_checkpoint():
    saved = UncertaintyReward(NAMES, measure="entropy").state_dict()
    UncertaintyReward(NAMES, measure="entropy").load_state_dict(saved)
    with pytest.raises(ValueError, match="measure is variance, the checkpoint has entropy"):
        UncertaintyReward(NAMES, measure="variance").load_state_dict(saved)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(UserError, match="in every layer; Identity has them in 0$"):
        measured(torch.nn.Identity(), "entropy")


@pytest.mark.parametrize(
    ("option", "value"), [("measure", "doubt"), ("passes", 0), ("dropout", 1), ("dropout", "much")]
)
def test_bad_options_name_key_and_value(option, value):
    with pytest.raises(UserError, match=f"reward.{option} .*{value}"):
        UncertaintyReward(NAMES, **{option: value})


def _on_a_rank(rank, world_size, runs):
    where = {"rank": rank, "world_size": world_size, "batch_size": 2}
    results = []
    for saved in runs:
        model = torchtune_model(*saved)
        set_activation_checkpointing(model, auto_wrap_policy={TransformerSelfAttentionLayer})
        shard(model, world_size)
        results.append([measured(model, measure, where=where) for measure in MEASURES])
    return results


def test_the_measures_are_the_same_on_2_ranks_under_fsdp2(tmp_path):
    llama = tiny_llama(tmp_path / "llama")[1], tmp_path / "llama", "LLAMA3"
    gemma = tiny_gemma(tmp_path / "gemma")[1], tmp_path / "gemma", "GEMMA"
    both = on_ranks(2, _on_a_rank, tmp_path / "ranks", [llama, gemma])
    for run, first, second in zip([llama, gemma], *both, strict=True):
        model = torchtune_model(*run)
        for measure, one, other in zip(MEASURES, first, second, strict=True):
            alone = measured(model, measure, where={"batch_size": 2})
            torch.testing.assert_close(one, alone, rtol=1e-6, atol=0)
            assert torch.equal(one, other)
