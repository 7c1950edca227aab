# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A short run of a train loop of one's own, in this process."""

import json
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from mos_tune.learning import DatasetLosses, MixtureController, RunPlan
from mos_tune.metrics import MixtureRecord
from mos_tune.mixture import MixtureLoader, MixtureSampler, TokenizedExamples, pad_right
from mos_tune.scorers import MLPScorer

BATCH_SIZE = 4


class TinyLM(nn.Module):
    """Two layers in the shape that rewards know."""

    def __init__(self, vocab_size: int = 32, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.Tanh())
        self.norm = nn.LayerNorm(2 * width)
        self.output = nn.Linear(2 * width, vocab_size)

    def forward(self, tokens):
        hidden = self.embedding(tokens)
        return self.unembed(self.layers(hidden + hidden.cumsum(dim=1)))

    def unembed(self, hidden):
        return self.output(self.norm(hidden))


def train(
    folder: Path,
    examples: dict,
    reward=None,
    *,
    scorer=MLPScorer,
    held_out: dict | None = None,
    steps: int = 4,
    every: int = 2,
    lr: float = 1e-2,
    **options,
) -> tuple[nn.Module, list[dict]]:
    """Train on rows by dataset; give the model and the events of mixture.jsonl.

    ``reward`` is made with the datasets' names; ``options`` are the plan's.
    """
    torch.manual_seed(0)
    model = TinyLM()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    rows = {name: TokenizedExamples(part) for name, part in examples.items()}
    sizes = {name: len(part) for name, part in rows.items()}
    sampler = MixtureSampler(sizes, global_batch_size=BATCH_SIZE, seed=0)
    plan = RunPlan(
        seed=0,
        sequences=rows,
        examples=rows,
        held_out=held_out or {},
        sampler=sampler,
        scorer=reward and scorer(sampler.prior, seed=0, update_every=every),
        reward=reward and reward(sampler.names),
        total_steps=steps,
        **options,
    )
    losses = DatasetLosses(len(sizes))
    collate = partial(pad_right, pad_id=0)
    controller = MixtureController(
        model,
        plan,
        losses=losses,
        record=MixtureRecord(sampler.names, folder),
        collate=collate,
        batch_size=8,
        device=torch.device("cpu"),
        validate_every=every if held_out else None,
        optimizer=optimizer,
    )
    loader = MixtureLoader(
        list(rows.values()),
        sampler,
        controller,
        collate=collate,
        batch_size=BATCH_SIZE,
        total_steps=steps,
    )
    controller.start()
    for batch in loader:
        logits, labels = model(batch["tokens"])[:, :-1], batch["labels"][:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        losses.add(logits, labels, loss)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    controller.finish()
    lines = (folder / "mixture.jsonl").read_text().splitlines()
    return model, [json.loads(line) for line in lines]
