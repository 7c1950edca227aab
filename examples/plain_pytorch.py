# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Learn a mixture of three datasets in a train loop of your own; needs torch, numpy and tqdm.

    python examples/plain_pytorch.py [OUTPUT_DIR]

OUTPUT_DIR gets mixture.jsonl and examples.jsonl, and mixture.png where matplotlib is installed.
"""

import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from tiny import PAD, TinyLM, datasets

from mos_tune.learning import DatasetLosses, MixtureController, RunPlan
from mos_tune.metrics import MixtureRecord
from mos_tune.mixture import MixtureLoader, MixtureSampler, pad_right
from mos_tune.rewards import DifficultyReward
from mos_tune.scorers import MLPScorer

STEPS, BATCH_SIZE = 200, 16


def main(output_dir: Path) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    model = TinyLM().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    train, held_out = datasets()
    sizes = {name: len(part) for name, part in train.items()}
    sampler = MixtureSampler(sizes, global_batch_size=BATCH_SIZE, seed=0)
    plan = RunPlan(
        seed=0,
        sequences=train,
        examples=train,
        held_out=held_out,
        sampler=sampler,
        scorer=MLPScorer(sampler.prior, update_every=20),
        reward=DifficultyReward(sampler.names),
        total_steps=STEPS,
    )
    losses = DatasetLosses(len(sampler.names), device=device)
    controller = MixtureController(
        model,
        plan,
        losses=losses,
        record=MixtureRecord(sampler.names, output_dir, show, log_examples=True),
        collate=partial(pad_right, pad_id=PAD),
        batch_size=64,
        device=device,
        validate_every=20,
        log_every=20,
        optimizer=optimizer,
    )
    loader = MixtureLoader(
        list(train.values()),
        sampler,
        controller,
        collate=partial(pad_right, pad_id=PAD),
        batch_size=BATCH_SIZE,
        total_steps=STEPS,
    )

    controller.start()
    for batch in loader:
        logits = model(batch["tokens"].to(device))[:, :-1]
        labels = batch["labels"].to(device)[:, 1:]
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        losses.add(logits, labels, loss)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    controller.finish()


def show(metrics: dict[str, float], step: int) -> None:
    print(f"step {step}:", "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "output/plain_pytorch"))
