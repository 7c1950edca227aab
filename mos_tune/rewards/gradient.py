# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""MultiDDS: how far a training step on a dataset would also lower the held-out losses."""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from mos_tune.rewards.base import Reward
from mos_tune.rewards.forward import at_least_float32, response_log_likelihood
from mos_tune.rewards.models import reshard
from mos_tune.rewards.probes import Probes


class GradientReward(Reward):
    r"""Mean cosine between a dataset's training gradient and every dataset's held-out gradient.

    ``R(i) = (1/N) * sum_n cos(grad J(H_n), grad J(D_i))`` where ``D_i`` and ``H_n`` are minibatches
    of ``batch_size`` training and held-out examples over all ranks, ``J`` is the mean loss per
    response token and ``grad`` goes over all trainable parameters: adapters only, with LoRA. One
    training and one held-out minibatch of each dataset are drawn afresh at every update. With a
    specialist s, ``R(i) = cos(grad J(H_s), grad J(D_i))``, in the manner of MoSpec.

    Measured in eval mode, as in MultiUAT's code of it: dropout would make the same minibatch give
    another gradient every time. (That code draws a training minibatch for every held-out one; here
    one serves them all.) ``.grad`` and the optimizer are left alone; ``optimizer_in_bwd`` is
    refused, because every backward pass would then be an optimizer step.

    Cost of an update: 2 N forward and backward passes over ``batch_size`` examples. Gradients stay
    sharded. Memory: as in a training step on a micro-batch of the same examples (without activation
    checkpointing, with transformers: its models leave that out in eval mode), and beside it one
    float32 vector of the trainable parameters: 4 bytes each, divided by the number of ranks. (The
    sum of the held-out gradients' directions is all that the cosines need, so that no two gradients
    are ever held together.) The optimizer's step, with its own temporary memory, is over by then.

    Args are those of :class:`~mos_tune.rewards.Reward`. Range: -1 to 1, clamped at 0; no unit.

    Source: MultiDDS; Wang, Tsvetkov, Neubig: Balancing Training for Multilingual Neural Machine
    Translation, ACL 2020, arXiv 2004.06748. Used as a baseline in Mixture-of-Skills.
    """

    needs_held_out = True
    needs_gradients = True

    def measure(self, model: nn.Module, probes: Probes) -> Tensor:
        """Compute the mean cosines, shape ``[N]``."""
        assert probes.held_out is not None
        towards = self.names if self.specialist is None else [self.names[self.specialist]]
        direction: list[Tensor] = []
        for name in towards:
            gradient = _gradient(model, probes.held_out.only(name))
            norm = float(_dot(gradient, gradient, probes).sqrt())
            # A minibatch without any response points nowhere.
            scale = 1 / norm if norm != 0 else 0.0
            if not direction:
                direction = [at_least_float32(part).mul_(scale) for part in gradient]
            else:
                for summed, part in zip(direction, gradient, strict=True):
                    summed.add_(part, alpha=scale)
            del gradient
        cosines = []
        for name in self.names:
            gradient = _gradient(model, probes.only(name))
            product = _dot(gradient, direction, probes) / len(towards)
            cosines.append(product / _dot(gradient, gradient, probes).sqrt())
            del gradient
        return torch.stack(cosines).cpu()


def _gradient(model: nn.Module, probes: Probes) -> list[Tensor]:
    """Give this rank's part of the gradient of the summed loss; its length does not matter."""
    reshard(model)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kept = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        with torch.enable_grad():
            for batch, counts in probes.batches():
                total, _ = response_log_likelihood(model, batch.tokens, batch.labels)
                # FSDP2 takes the mean over ranks: every token of every rank weighs the same.
                (-total.sum() * counts).backward()
        return [_shard(parameter, probes) for parameter in parameters]
    finally:
        for parameter, gradient in zip(parameters, kept, strict=True):
            parameter.grad = gradient


def _shard(parameter: nn.Parameter, probes: Probes) -> Tensor:
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    if isinstance(gradient, DTensor):
        return gradient.to_local()
    if probes.world_size == 1:
        return gradient
    # A replica's gradient is of its own rank's tokens. Cut up, it counts once in a product.
    dist.all_reduce(gradient)
    mean = gradient.flatten() / probes.world_size
    return mean.tensor_split(probes.world_size)[probes.rank].clone()


def _dot(left: list[Tensor], right: list[Tensor], probes: Probes) -> Tensor:
    """Multiply two sharded vectors; float64, the same on every rank."""
    product = torch.zeros((), dtype=torch.float64, device=probes.device)
    for one, other in zip(left, right, strict=True):
        product += (at_least_float32(one) * other).sum(dtype=torch.float64).to(probes.device)
    if probes.world_size > 1:
        dist.all_reduce(product)
    return product
