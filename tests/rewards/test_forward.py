# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What the forward passes do not do: keep gradients, make logits, disturb the model."""

import pytest
import torch
from helpers.hf_models import tiny_llama
from helpers.probing import examples, probes, torchtune_model

from mos_tune.rewards import (
    DifficultyReward,
    TransferabilityReward,
    hidden_states,
    measuring,
    response_log_likelihood,
)
from mos_tune.rewards.forward import NUM_CHUNKS


@pytest.fixture
def model(tmp_path):
    return torchtune_model(tiny_llama(tmp_path)[1], tmp_path, "LLAMA3")


@pytest.fixture
def projected(model):
    """Rows of every call of the output projection."""
    rows = []
    model.output.register_forward_hook(lambda module, args, out: rows.append(out[..., 0].numel()))
    return rows


def test_transferability_never_computes_logits(model, projected):
    with measuring(model):
        TransferabilityReward(["a"]).measure(model, probes({"a": examples(6, 0)}))
    assert projected == []


def test_difficulty_projects_response_tokens_only_in_equal_chunks(model, projected):
    rows = examples(6, 0)
    with measuring(model):
        DifficultyReward(["a"]).prepare(model, probes({"a": rows}, batch_size=6))
    responses = sum(label != -100 for row in rows for label in row["labels"][1:])
    assert sum(projected) == responses
    assert len(projected) == NUM_CHUNKS
    assert max(projected) <= -(-responses // NUM_CHUNKS)


def test_the_model_is_left_as_it_was(model):
    tokens = torch.tensor([examples(1, 0)[0]["tokens"]])
    before = model(tokens)
    model.train()
    with measuring(model):
        assert not model.training
        assert not hidden_states(model, tokens).requires_grad
        response_log_likelihood(model, tokens, tokens)
    assert model.training
    assert torch.equal(model(tokens), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_error_inside_leaves_the_model_as_it_was(model):
    tokens = torch.tensor([[1, 2, 3]])
    before = model(tokens)
    with pytest.raises(IndexError), measuring(model):
        response_log_likelihood(model, tokens, torch.tensor([[1, 2, 10_000]]))
    assert torch.equal(model(tokens), before)


def test_an_example_without_response_counts_nothing(model):
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    labels = torch.tensor([[-100, -100, -100], [-100, 5, 6]])
    with measuring(model):
        total, count = response_log_likelihood(model, tokens, labels)
        alone, _ = response_log_likelihood(model, tokens[1:], labels[1:])
    assert count.tolist() == [0, 2]
    assert total[0] == 0
    torch.testing.assert_close(total[1:], alone, rtol=1e-6, atol=0)
