# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Runs of a tiny model in this process, with a train loop of their own."""

import importlib.util
import json
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from helpers.examples import EXAMPLES

from mos_tune.learning import DatasetLosses, MixtureController, RunPlan
from mos_tune.metrics import MixtureRecord
from mos_tune.mixture import MixtureLoader, MixtureSampler, TokenizedExamples, pad_right
from mos_tune.rewards import Reward

_SPEC = importlib.util.spec_from_file_location("tiny", EXAMPLES / "tiny.py")
tiny = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tiny)

NAMES = list(tiny.TASKS)


class AnswerLength(Reward):
    """Mean number of response tokens of the probes, and so another one at every update."""

    def measure(self, model, probes):
        return probes.mean(lambda batch: (batch.labels != -100).sum(dim=1, keepdim=True))[:, 0]


class SmallRun:
    """A run on the examples' three datasets, 8 sequences a step.

    ``sampler`` has its options, ``scorer`` makes one from the prior, and ``few`` leaves so many
    examples of a dataset, which are drawn once.
    """

    def __init__(
        self, folder: Path, *, steps, scorer=None, sampler=(), few=(), early_stop=None, **controller
    ):
        train, held_out = tiny.datasets()
        few = dict(few)
        train |= {
            name: TokenizedExamples([train[name][i] for i in range(count)])
            for name, count in few.items()
        }
        self.folder = folder
        sizes = {name: len(part) for name, part in train.items()}
        self.sampler = MixtureSampler(
            sizes, global_batch_size=8, seed=0, max_epochs=dict.fromkeys(few, 1), **dict(sampler)
        )
        torch.manual_seed(0)
        self.model = tiny.TinyLM(8)
        self.losses = DatasetLosses(len(NAMES))
        collate = partial(pad_right, pad_id=tiny.PAD)
        self.plan = RunPlan(
            seed=0,
            sequences=train,
            examples=train,
            held_out=held_out,
            sampler=self.sampler,
            scorer=scorer and scorer(self.sampler.prior),
            reward=scorer and AnswerLength(NAMES, batch_size=8, smoothing=1.0),
            early_stop=early_stop,
            total_steps=steps,
        )
        self.controller = MixtureController(
            self.model,
            self.plan,
            losses=self.losses,
            record=MixtureRecord(NAMES, folder, log_examples=True),
            collate=collate,
            batch_size=64,
            device=torch.device("cpu"),
            **controller,
        )
        self._loader = partial(
            MixtureLoader,
            list(train.values()),
            self.sampler,
            self.controller,
            collate=collate,
            batch_size=8,
            total_steps=steps,
        )

    def run(self, *, until=None, resume=None):
        """Train to the end, or until a step whose state it gives."""
        if resume is None:
            self.controller.start()
        else:
            self.controller.resume(resume, model_is_untouched=True)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        loader = self._loader(step=self.controller.step)
        for batch in loader:
            logits, labels = self.model(batch["tokens"])[:, :-1], batch["labels"][:, 1:]
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
            self.losses.add(logits, labels, loss)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loader.finish()
            if self.controller.step == until:
                return self.controller.state_dict()
        self.controller.finish()
        return self

    def events(self, name):
        lines = (self.folder / "mixture.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def examples(self):
        lines = (self.folder / "examples.jsonl").read_text().splitlines()
        return [json.loads(line)["examples"] for line in lines]
