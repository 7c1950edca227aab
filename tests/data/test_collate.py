# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import numpy as np
import pytest
import torch
from helpers.hf_models import tiny_gemma, tiny_llama, tiny_qwen2
from omegaconf import OmegaConf
from torch.nn.functional import cross_entropy
from torchtune import config
from torchtune.data import padded_collate_packed, padded_collate_sft
from torchtune.datasets import PackedDataset

from mos_tune.data.examples import Examples
from mos_tune.data.packing import Packs, collate_sequences

PAD, SIZE = 3, 48


def examples(count=9, masked=True):
    rng = np.random.default_rng(0)
    rows = []
    for length in rng.integers(4, 20, count):
        tokens = rng.integers(4, 200, length).tolist()
        prompt = int(rng.integers(1, length - 1)) if masked else 0
        rows.append({"tokens": tokens, "labels": [-100] * prompt + tokens[prompt:]})
    return rows


def packed(rows):
    lengths = [len(row["tokens"]) for row in rows]
    return Packs(Examples("dataset.a", rows, list(range(len(rows))), lengths, lengths), SIZE)


def collate(sequences):
    return collate_sequences(
        sequences,
        collate_examples=collate_examples,
        pack_size=SIZE,
        padding_idx=PAD,
        ignore_idx=-100,
        device=torch.device("cpu"),
    )


def collate_examples(rows):
    return padded_collate_sft(rows, padding_idx=PAD, ignore_idx=-100)


def losses(model, batch):
    """As the stock loop: all labels shifted by one."""
    labels = batch.pop("labels")
    labels = torch.hstack((labels[:, 1:], torch.full((len(labels), 1), -100)))
    logits = model(**batch)
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")


@pytest.mark.parametrize("architecture", [tiny_llama, tiny_gemma, tiny_qwen2])
@pytest.mark.parametrize("masked", [True, False], ids=["responses", "train-on-input"])
def test_loss_and_gradient_are_those_of_the_examples_alone(tmp_path, architecture, masked):
    torch.manual_seed(0)
    model = config.instantiate(OmegaConf.create(architecture(tmp_path)[1]))
    for parameter in model.parameters():  # some builders leave zeros
        torch.nn.init.normal_(parameter, std=0.15)
    rows = examples(masked=masked)
    # Packs, and an example of another dataset beside them.
    sequences = [*packed(rows[:-1]), rows[-1]]
    assert 2 <= len(sequences) < 6
    found = losses(model, collate(sequences))
    found.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    expected = sum(losses(model, collate_examples([row])) for row in rows)
    expected.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-4)


def test_it_is_torchtunes_own_packing_but_for_the_label_at_a_boundary():
    rows = examples(3)
    (theirs,) = PackedDataset(rows, max_seq_len=SIZE, padding_idx=PAD)
    (ours,) = packed(rows)
    order = sorted(range(3), key=lambda one: -len(rows[one]["tokens"]))
    assert ours["tokens"] == [token for one in order for token in rows[one]["tokens"]]
    (theirs,) = PackedDataset([rows[one] for one in order], max_seq_len=SIZE, padding_idx=PAD)
    theirs, ours = padded_collate_packed([theirs]), collate([ours])
    starts = [0, *np.cumsum([len(rows[one]["tokens"]) for one in order[:-1]])]
    theirs["labels"][0, starts] = -100
    for key in ("tokens", "labels", "mask"):
        assert torch.equal(theirs[key], ours[key]), key
    used = sum(len(row["tokens"]) for row in rows)
    assert torch.equal(theirs["input_pos"][:, :used], ours["input_pos"][:, :used])


def test_without_a_pack_nothing_changes():
    rows = examples(4)
    found, expected = collate(rows), collate_examples(rows)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_an_example_beside_packs_may_be_longer_than_they_are():
    long = {"tokens": [5] * (SIZE + 7), "labels": [5] * (SIZE + 7)}
    batch = collate([*packed(examples(2)), long])
    assert batch["tokens"].shape == (2, SIZE + 7) and batch["mask"].shape[1:] == (SIZE + 7,) * 2
