# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What the rewards that compute gradients take in memory, beside a training step."""

from functools import partial

import pytest
import torch
from helpers.live_bytes import peak_beside
from helpers.probing import examples, probes
from torchtune.models.llama3 import llama3

from mos_tune.rewards import (
    GradientNormReward,
    GradientSignalReward,
    HeldOutGainReward,
    LookaheadReward,
    Progress,
    measuring,
    response_log_likelihood,
)

TRAIN = {"a": examples(8, 0), "b": examples(8, 1)}


@pytest.mark.parametrize(
    ("reward", "vectors", "batch_size"),
    [
        (partial(HeldOutGainReward, preconditioned=True), 1, 4),
        (partial(GradientSignalReward, pieces=2), 1, 4),
        (GradientNormReward, 0, 1),
        (LookaheadReward, 1, 4),
        (partial(LookaheadReward, mode="taylor"), 1, 1),
    ],
    ids=["gain", "signal", "norm", "step", "taylor"],
)
def test_beside_a_training_step_they_take_one_vector_of_the_parameters_at_most(
    reward, vectors, batch_size
):
    sizes = {"vocab_size": 256, "num_layers": 6, "embed_dim": 128, "intermediate_dim": 512}
    model = llama3(**sizes, num_heads=4, num_kv_heads=2, max_seq_len=64)
    vector = 4 * sum(parameter.numel() for parameter in model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    progress = Progress(1, torch.ones(2) / 2, {}, {}, optimizer)
    some = probes(TRAIN, batch_size=batch_size, progress=progress)

    def step():
        batch, _ = next(some.batches())
        total, _ = response_log_likelihood(model, batch.tokens, batch.labels)
        total.sum().backward()
        model.zero_grad()

    def measure():
        with measuring(model):
            reward(list(TRAIN)).measure(model, some)

    extra = peak_beside(model, measure) - peak_beside(model, step)
    # Sums are taken parameter by parameter, with a copy or two of the largest.
    assert (vectors - 0.2) * vector < extra < (vectors + 0.25) * vector
