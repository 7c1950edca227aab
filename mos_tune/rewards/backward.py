# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""Gradients of a probe's loss, each rank's part of them, and their products."""

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mos_tune.rewards.forward import at_least_float32, response_log_likelihood
from mos_tune.rewards.models import reshard
from mos_tune.rewards.probes import Probes


def loss_gradient(
    model: nn.Module, probes: Probes, *, of_examples: bool = False
) -> tuple[list[Tensor], Tensor]:
    """Compute the gradient of a probe's summed loss, and leave every ``.grad`` as it was.

    Args:
        model (nn.Module): the model as it is now.
        probes (Probes): the examples.
        of_examples (bool): sum the examples' means over their response tokens, in place of the
            tokens' losses. Default False.

    Returns:
        tuple[list[Tensor], Tensor]: this rank's part of the gradient of every trainable parameter,
        divided by the number of ranks; and of every example the summed loss in nats and the number
        of response tokens, float64 on the CPU, shape ``[E, 2]``.
    """
    parameters = trainable(model)
    kept = [parameter.grad for parameter in parameters]
    places = {position: place for place, position in enumerate(probes.positions)}
    losses = torch.zeros(len(places), 2, dtype=torch.float64, device=probes.device)
    for parameter in parameters:
        parameter.grad = None
    try:
        with torch.enable_grad():
            for batch, counts in probes.batches():
                total, count = response_log_likelihood(model, batch.tokens, batch.labels)
                if counts:
                    rows = [places[position] for position in batch.positions]
                    losses[rows] = torch.stack([-total.detach(), count.double()], dim=1)
                # FSDP2 takes the mean over ranks: every token of every rank weighs the same.
                loss = -(total / count.clamp_min(1) if of_examples else total).sum()
                (loss * counts).backward()
        if probes.world_size > 1:
            dist.all_reduce(losses)
        return [_shard(parameter, probes) for parameter in parameters], losses.cpu()
    finally:
        for parameter, gradient in zip(parameters, kept, strict=True):
            parameter.grad = gradient


def piece_gradients(
    model: nn.Module, probes: Probes, pieces: int
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Compute the gradients of disjoint pieces of a dataset's probe, one after the other.

    What a piece holds does not depend on the number of ranks; its micro-batches are cut smaller
    where that gives every rank one.

    Args:
        model (nn.Module): the model as it is now.
        probes (Probes): examples of one dataset.
        pieces (int): how many; no more than there are examples.

    Yields:
        tuple[list[Tensor], Tensor]: as :func:`loss_gradient` gives it, of examples' means.
    """
    ((name, indices),) = probes.indices.items()
    for first in range(pieces):
        piece = list(indices[first::pieces])
        batch_size = min(probes.batch_size, -(-len(piece) // probes.world_size))
        only = replace(probes, indices={name: piece}, batch_size=batch_size)
        yield loss_gradient(model, only, of_examples=True)


def signal_and_noise(
    model: nn.Module, probes: Probes, pieces: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate the gradient of a dataset's mean loss per example without bias, by pieces.

    With the summed gradients ``G_j`` of pieces of ``b_j`` examples (those with a response) and
    ``B = sum_j b_j``,

        ``signal = (|sum_j G_j|^2 - sum_j |G_j|^2) / (B^2 - sum_j b_j^2)``
        ``noise = (sum_j |G_j|^2 - signal * sum_j b_j^2) / B``

    since ``E |G_j|^2 = b_j noise + b_j^2 signal``, and different pieces are independent.

    Args:
        model (nn.Module): the model as it is now.
        probes (Probes): examples of one dataset, at least 2.
        pieces (int): at least 2; no more than there are examples.

    Returns:
        tuple[Tensor, Tensor, Tensor]: the squared norm of the gradient, the trace of the covariance
        of the examples' gradients, and their mean loss in nats; float64 on the CPU, shape ``[]``.
    """
    summed: list[Tensor] = []
    squares, counts, loss = [], [], torch.zeros((), dtype=torch.float64)
    for gradient, losses in piece_gradients(model, probes, pieces):
        squares.append(dot(gradient, gradient, probes).cpu())
        counts.append((losses[:, 1] > 0).sum())
        loss += (losses[:, 0] / losses[:, 1].clamp_min(1)).sum()
        if summed:
            for whole, part in zip(summed, gradient, strict=True):
                whole.add_(part)
        else:
            summed = [at_least_float32(part) for part in gradient]
        del gradient
    # Gradients come divided by the number of ranks.
    whole = probes.world_size**2 * dot(summed, summed, probes).cpu()
    pieces_alone = probes.world_size**2 * torch.stack(squares).sum()
    sizes = torch.stack(counts).double()
    signal = (whole - pieces_alone) / (sizes.sum() ** 2 - sizes.square().sum())
    noise = (pieces_alone - signal * sizes.square().sum()) / sizes.sum()
    return signal, noise, loss / sizes.sum()


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Give the parameters that the optimizer has, in the order of every gradient here."""
    reshard(model)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def own_part(whole: Tensor, probes: Probes) -> Tensor:
    """Give the part of a parameter, or of what has its shape, that is this rank's in products."""
    if isinstance(whole, DTensor):
        return whole.to_local()
    if probes.world_size == 1:
        return whole
    # A replica's. Cut up, it counts once in a product.
    return whole.flatten().tensor_split(probes.world_size)[probes.rank]


def dot(left: list[Tensor], right: list[Tensor], probes: Probes) -> Tensor:
    """Multiply two sharded vectors; float64, the same on every rank."""
    product = torch.zeros((), dtype=torch.float64, device=probes.device)
    for one, other in zip(left, right, strict=True):
        product += (at_least_float32(one) * other).sum(dtype=torch.float64).to(probes.device)
    if probes.world_size > 1:
        dist.all_reduce(product)
    return product


def _shard(parameter: nn.Parameter, probes: Probes) -> Tensor:
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    if isinstance(gradient, DTensor) or probes.world_size == 1:
        return own_part(gradient, probes)
    # A replica's gradient is of its own rank's tokens.
    dist.all_reduce(gradient)
    return own_part(gradient / probes.world_size, probes).clone()
