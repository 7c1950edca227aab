# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The core imports and runs where only torch, numpy and tqdm are installed."""

import subprocess
import sys

# Names that are None cannot be imported; what stands below runs in a fresh Python after that.
WITHOUT = "torchtune torchao torchdata datasets omegaconf transformers peft matplotlib yaml"

SCRIPT = """
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mos_tune.mixture import MixtureSampler, derived_seed, probe_indices
from mos_tune.rewards import (
    DifficultyReward, GradientReward, Probes, TransferabilityReward, UncertaintyReward, measuring
)
from mos_tune.scorers import MLPScorer


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x):
        return F.scaled_dot_product_attention(*self.qkv(x).chunk(3, dim=-1), is_causal=True)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = Attention()
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(32, 16)
        self.layers = nn.Sequential(Layer(), Layer())
        self.norm = nn.LayerNorm(16)
        self.output = nn.Linear(16, 32)

    def forward(self, tokens):
        return self.unembed(self.layers(self.embedding(tokens)))

    def unembed(self, hidden):
        return self.output(self.norm(hidden))


torch.manual_seed(0)
SIZES = {"a": 6, "b": 4}


def rows(count):
    tokens = [torch.randint(1, 32, (7 + number,)).tolist() for number in range(count)]
    return [{"tokens": row, "labels": [-100] * 3 + row[3:]} for row in tokens]


def collate(rows):
    padding = {"tokens": 0, "labels": -100}
    columns = {key: [torch.tensor(row[key]) for row in rows] for key in padding}
    return {key: pad_sequence(columns[key], True, padding[key]) for key in padding}


def drawn(update):
    return {
        name: probe_indices(size, 4, seed=1, name=name, update=update)
        for name, size in SIZES.items()
    }


model = Model()
train = {name: rows(size) for name, size in SIZES.items()}
shared = dict(collate=collate, batch_size=3, device=torch.device("cpu"), seed=derived_seed(1, "r"))
held_out = Probes({name: rows(3) for name in SIZES}, dict.fromkeys(SIZES, range(3)), **shared)
probes = Probes(train, drawn(1), held_out=held_out, **shared)
sampler = MixtureSampler(SIZES, global_batch_size=4, seed=1)
for kind in (DifficultyReward, TransferabilityReward, GradientReward, UncertaintyReward):
    reward, scorer = kind(list(SIZES)), MLPScorer(sampler.prior)
    with measuring(model):
        reward.prepare(model, probes)
        measured, smoothed = reward.update(model, probes)
    scorer.update(smoothed)
    assert len(sampler.draw_step(1, scorer.probabilities())) == 4
    print(kind.__name__, measured.tolist())
"""


def test_rewards_mixture_and_scorers_run_without_the_recipes_dependencies():
    block = f"import sys\nsys.modules.update(dict.fromkeys({WITHOUT.split()!r}))\n"
    result = subprocess.run(
        [sys.executable, "-c", block + SCRIPT], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    measured = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert list(measured) == [
        "DifficultyReward",
        "TransferabilityReward",
        "GradientReward",
        "UncertaintyReward",
    ]
    # The model has not moved since prepare.
    assert measured["DifficultyReward"] == "[1.0, 1.0]"
