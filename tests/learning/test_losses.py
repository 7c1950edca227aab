# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchtune.modules.loss import CEWithChunkedOutputLoss

from mos_tune.errors import UserError
from mos_tune.learning import DatasetLosses
from mos_tune.learning.losses import held_out_mean

VOCAB, ROWS, LENGTH = 11, 4, 18


def batch(seed=0, silent_rows=()):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, VOCAB, (ROWS, LENGTH), generator=generator)
    labels[:, :4] = -100
    labels[2, 9:] = -100
    for row in silent_rows:
        labels[row] = -100
    logits = torch.randn(ROWS, LENGTH, VOCAB, generator=generator, requires_grad=True)
    return logits, labels


def as_the_stock_loop(loss_fn, logits, labels):
    """Shift the labels and call the loss, whole or in chunks."""
    shifted = torch.hstack((labels[:, 1:], torch.full((ROWS, 1), -100)))
    if isinstance(loss_fn, CEWithChunkedOutputLoss):
        return loss_fn(list(logits.chunk(loss_fn.num_output_chunks, dim=1)), shifted)
    return loss_fn(logits.reshape(-1, VOCAB), shifted.reshape(-1))


def expected(logits, labels, datasets, count):
    sums = torch.zeros(count, 2, dtype=torch.float64)
    for row, dataset in enumerate(datasets):
        for place in range(1, LENGTH):
            if labels[row, place] != -100:
                log_p = F.log_softmax(logits[row, place - 1].double(), dim=0)
                sums[dataset] += torch.stack(
                    [-log_p[labels[row, place]].detach(), torch.tensor(1.0)]
                )
    return sums


@pytest.mark.parametrize("make_loss", [CEWithChunkedOutputLoss, nn.CrossEntropyLoss])
@pytest.mark.parametrize("datasets", [[0, 2, 0, 1], [2, 2, 2, 2]])
def test_sums_are_those_of_every_datasets_rows(make_loss, datasets):
    loss_fn = make_loss()
    plain = make_loss()
    ledger = DatasetLosses(3)
    ledger.watch(loss_fn)
    total = torch.zeros(3, 2, dtype=torch.float64)
    for seed in (0, 1):
        logits, labels = batch(seed)
        ledger.begin(datasets, {"labels": labels})
        loss = as_the_stock_loop(loss_fn, logits, labels)
        assert torch.equal(loss, as_the_stock_loop(plain, logits, labels))
        total += expected(logits, labels, datasets, 3)
    torch.testing.assert_close(ledger.take(), total, rtol=1e-5, atol=0)
    assert ledger.take().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make_loss", [CEWithChunkedOutputLoss, nn.CrossEntropyLoss])
def test_a_micro_batch_without_response_weighs_nothing(make_loss, dtype):
    loss_fn = make_loss()
    logits, labels = batch(silent_rows=range(ROWS))
    logits = logits.detach().to(dtype).requires_grad_()
    assert as_the_stock_loop(loss_fn, logits, labels).isnan()
    ledger = DatasetLosses(3)
    ledger.watch(loss_fn)
    ledger.begin([0, 1, 1, 2], {"labels": labels})
    loss = as_the_stock_loop(loss_fn, logits, labels)
    loss.backward()
    # The stock loop adds it up with the other ranks' losses, which are in float32.
    assert loss.dtype == torch.float32
    assert loss == 0 and torch.equal(logits.grad, torch.zeros_like(logits))
    assert ledger.take().sum() == 0


def test_a_loop_may_read_all_micro_batches_of_a_step_first():
    batches = [batch(seed) for seed in (0, 1, 2)]
    rows = [[0, 2, 0, 1], [2, 2, 1, 0], [1, 1, 1, 1]]
    losses = DatasetLosses(3)
    for datasets, (_, labels) in zip(rows, batches, strict=True):
        losses.begin(datasets, {"labels": labels})
    total = torch.zeros(3, 2, dtype=torch.float64)
    for datasets, (logits, labels) in zip(rows, batches, strict=True):
        losses.add(logits[:, :-1], labels[:, 1:])
        total += expected(logits, labels, datasets, 3)
    torch.testing.assert_close(losses.take(), total, rtol=1e-5, atol=0)


def test_a_micro_batch_whose_loss_does_not_come_is_refused():
    losses = DatasetLosses(3)
    logits, labels = batch()
    losses.begin([0, 2, 0, 1], {"labels": labels})
    with pytest.raises(UserError, match="the losses of 1 micro-batches .* must call .*add"):
        losses.take()
    losses.add(logits[:, :-1], labels[:, 1:])
    losses.take()
    with pytest.raises(UserError, match="add was called more often than the loader gave"):
        losses.add(logits[:, :-1], labels[:, 1:])


def test_the_mean_of_held_out_losses_is_weighted_by_the_objective():
    losses, names = torch.tensor([1.0, 2.0, 4.0]).double(), ["a", "b", "target"]
    assert held_out_mean(losses, names, {}) == float(losses.mean())
    assert held_out_mean(losses, names, {"target": 0.3}) == pytest.approx(4.0)
    assert held_out_mean(losses, names, {"target": 3, "a": 1}) == pytest.approx(13 / 4)
