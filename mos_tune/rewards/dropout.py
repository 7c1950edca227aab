# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Dropout for models that have none, with masks that belong to an example and a pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from mos_tune.rewards.models import residual_branches
from mos_tune.rewards.probes import ProbeBatch


@contextmanager
def monte_carlo_dropout(
    model: nn.Module, dropout: float
) -> Iterator[Callable[[ProbeBatch, int, int], None]]:
    """Drop out what attention and feed-forward add to the residual stream, as the Transformer does.

    The masks of an example are a function of ``(seed, example, pass)``: the same in any micro-batch
    and on any rank. No global random state is used or changed. Compiled layers run uncompiled
    inside, because a compiled layer does not notice a new hook.

    Args:
        model (nn.Module): as :func:`~mos_tune.rewards.models.residual_branches` takes it.
        dropout (float): probability that an element is dropped.

    Yields:
        Callable[[ProbeBatch, int, int], None]: to be called with the micro-batch, a seed and the
            number of the pass before each forward pass.

    Raises:
        UserError: if the model has no such layers.
    """
    generators: list[torch.Generator] = []
    lengths: list[int] = []

    def begin(batch: ProbeBatch, seed: int, number: int) -> None:
        lengths[:] = batch.lengths.tolist()
        generators[:] = [
            torch.Generator(batch.tokens.device).manual_seed(mask_seed(seed, *position, number))
            for position in batch.positions
        ]

    def drop(module: nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):  # transformers' attention gives its weights, too
            return drop(module, inputs, output[0]), *output[1:]
        keep = torch.ones_like(output, dtype=torch.bool)
        # Row by row and without padding: a generator's numbers depend on how many it is asked for.
        for row, (generator, length) in enumerate(zip(generators, lengths, strict=True)):
            size = (length, output.shape[-1])
            drawn = torch.rand(size, generator=generator, device=output.device)
            keep[row, :length] = drawn >= dropout
        return output * keep / (1 - dropout)

    hooks = [branch.register_forward_hook(drop) for branch in residual_branches(model)]
    try:
        with torch.compiler.set_stance("force_eager"):
            yield begin
    finally:
        for hook in hooks:
            hook.remove()


def mask_seed(*parts: int) -> int:
    """Give the seed of an example's masks in one pass."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])
