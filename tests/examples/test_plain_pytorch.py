# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import re

import pytest
import torch
from helpers.examples import EXAMPLES, read_lines, run_python

from mos_tune.mixture import pad_right

STEPS, EVERY = 200, 20


@pytest.fixture(scope="module")
def tiny():
    """The examples' data and model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        import tiny

        return tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, and the numbers that it printed, by step and name."""
    folder = tmp_path_factory.mktemp("plain")
    printed = {}
    for line in run_python(EXAMPLES / "plain_pytorch.py", folder).splitlines():
        step, rest = re.fullmatch(r"step (\d+): (.*)", line).groups()
        pairs = (pair.rsplit(" ", 1) for pair in rest.strip().split("  "))
        printed.setdefault(int(step), {}).update((key, float(value)) for key, value in pairs)
    return folder, printed


def summed_by_row(model, rows):
    """Loss sum and response tokens of each row, one at a time."""
    for row in rows:
        tokens, labels = torch.tensor([row["tokens"]]), torch.tensor(row["labels"][1:])
        log_p = model(tokens)[0, :-1].log_softmax(dim=-1)
        chosen = labels != -100
        yield -log_p[chosen, labels[chosen]].sum(), int(chosen.sum())


def means_by_dataset(pairs):
    """Mean loss per response token by name, of pairs of a name and a row's sums."""
    sums = {}
    for name, (loss, count) in pairs:
        before = sums.get(name, (0.0, 0))
        sums[name] = before[0] + float(loss), before[1] + count
    return {name: loss / count for name, (loss, count) in sums.items()}


def test_the_record_is_complete(run):
    folder, _ = run
    assert {file.name for file in folder.iterdir()} == {
        "mixture.jsonl",
        "examples.jsonl",
        "mixture.png",
    }
    steps = {}
    for line in read_lines(folder / "mixture.jsonl"):
        steps.setdefault(line["event"], []).append(line["step"])
    assert steps == {
        "start": [0],
        "validation": [0, *range(EVERY, STEPS + 1, EVERY)],
        "update": [*range(EVERY, STEPS + 1, EVERY)],
        "end": [STEPS],
    }


def test_what_is_hard_gains_weight(run):
    update = [one for one in read_lines(run[0] / "mixture.jsonl") if one["event"] == "update"][-1]
    assert sorted(update["probabilities"], key=update["probabilities"].get) == [
        "repeat",
        "sort",
        "reverse",
    ]


def test_losses_are_those_of_training_on_the_same_examples(run, tiny):
    folder, printed = run
    train, held_out = tiny.datasets()
    torch.manual_seed(0)
    model = tiny.TinyLM()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    seen = []
    for line in read_lines(folder / "examples.jsonl")[: 2 * EVERY]:
        names = [name for name, _ in line["examples"]]
        rows = [train[name][index] for name, index in line["examples"]]
        with torch.no_grad():
            seen += zip(names, summed_by_row(model, rows), strict=True)
        batch = pad_right(rows, pad_id=0)
        logits, labels = model(batch["tokens"]), batch["labels"][:, 1:]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits[:, :-1].mT, labels).backward()
        optimizer.step()
        if line["step"] % EVERY == 0:
            expected = {f"loss/{name}": loss for name, loss in means_by_dataset(seen).items()}
            with torch.no_grad():
                pairs = [
                    (name, sums)
                    for name, part in held_out.items()
                    for sums in summed_by_row(model, part)
                ]
            losses = means_by_dataset(pairs)
            expected |= {f"val_loss/{name}": loss for name, loss in losses.items()}
            found = {key: printed[line["step"]][key] for key in expected}
            assert found == pytest.approx(expected, abs=3e-4)
            seen = []
