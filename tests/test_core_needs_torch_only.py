# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The core imports and runs where only torch, numpy and tqdm are installed."""

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from helpers.examples import EXAMPLES, read_lines

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
        measured = reward.measure(model, probes)
    smoothed = reward.smooth(measured)
    scorer.learn(smoothed)
    assert len(sampler.draw_step(1, scorer.probabilities())) == 4
    print(kind.__name__, measured.tolist())
"""


LOOP = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import plain_pytorch

plain_pytorch.STEPS = 40
plain_pytorch.main(Path(sys.argv[2]))
"""


def installed_with(*names):
    """Name the packages that pip brings for these."""
    packages = set()
    wanted = list(names)
    while wanted:
        name = re.match(r"[\w.-]+", wanted.pop())[0].lower().replace("_", "-")
        if name in packages:
            continue
        packages.add(name)
        try:
            wanted += [line for line in requires(name) or () if "extra ==" not in line]
        except PackageNotFoundError:  # for another platform
            continue
    return packages


def run_blocked(script, *arguments):
    """Run a script in a fresh Python that can import the core's packages only."""
    # jinja2 comes with torch, but it is the recipes' business.
    allowed = installed_with("torch", "numpy", "tqdm") - {"jinja2"} | {"mos-tune"}
    blocked = [
        module
        for module, packages in packages_distributions().items()
        if not allowed & {package.lower().replace("_", "-") for package in packages}
    ]
    assert {"torchtune", "torchao", "datasets", "omegaconf", "matplotlib", "yaml"} < {*blocked}
    assert {"safetensors", "tokenizers", "huggingface_hub", "jinja2"} < {*blocked}
    # Names that are None cannot be imported; what comes after that runs as it is.
    block = f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\n"
    result = subprocess.run(
        [sys.executable, "-c", block + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result


def test_rewards_mixture_and_scorers_run_without_the_recipes_dependencies():
    result = run_blocked(SCRIPT)
    measured = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    assert list(measured) == [
        "DifficultyReward",
        "TransferabilityReward",
        "GradientReward",
        "UncertaintyReward",
    ]
    # The model has not moved since prepare.
    assert measured["DifficultyReward"] == "[1.0, 1.0]"


def test_a_whole_run_comes_to_its_end_without_the_recipes_dependencies(tmp_path):
    result = run_blocked(LOOP, EXAMPLES, tmp_path)
    events = [(line["event"], line["step"]) for line in read_lines(tmp_path / "mixture.jsonl")]
    assert events[0] == ("start", 0) and events[-1] == ("end", 40)
    assert ("update", 40) in events and ("validation", 40) in events
    assert {file.name for file in tmp_path.iterdir()} == {"mixture.jsonl", "examples.jsonl"}
    (said,) = [line for line in result.stderr.splitlines() if "matplotlib" in line]
    assert "no mixture.png was drawn" in said and str(tmp_path / "mixture.jsonl") in said
