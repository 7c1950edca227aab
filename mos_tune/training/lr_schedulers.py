# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Learning-rate schedules that torchtune does not have."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mos_tune.errors import UserError, is_number


def get_linear_schedule_with_warmup(
    optimizer: Optimizer,
    *,
    num_training_steps: int,
    warmup_fraction: float = 0.1,
    last_epoch: int = -1,
) -> LambdaLR:
    """Raise the learning rate linearly from 0 to its base value, then lower it linearly to 0.

    With ``T = num_training_steps`` and ``w = ceil(warmup_fraction * T)``, step t (from 0) runs at
    ``base * t / w`` while ``t < w`` and at ``base * (T - t) / (T - w)`` from there on. So the first
    step of a warm-up moves nothing, as in the schedules of torchtune and transformers.

    Args:
        optimizer (Optimizer): its learning rates at this moment are the base values.
        num_training_steps (int): T, in optimizer steps; the recipe passes it.
        warmup_fraction (float): share of the steps to warm up for, from 0 to 1. Default 0.1, the
            paper's; a share and not a number of steps, so that it holds for any mixture's size.
        last_epoch (int): index of the last step done when resuming; the recipe passes it.
            Default -1: a fresh start.

    Returns:
        LambdaLR: the schedule, to be stepped once per optimizer step.

    Raises:
        UserError: if ``warmup_fraction`` is not from 0 to 1.

    Source: Mixture-of-Skills, experimental settings (linear schedule, 10 % warm-up).
    """
    if not is_number(warmup_fraction) or not 0 <= warmup_fraction <= 1:
        raise UserError(
            f"lr_scheduler.warmup_fraction must lie from 0 to 1, got {warmup_fraction!r}"
        )
    warmup_steps = math.ceil(warmup_fraction * num_training_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return step / warmup_steps
        return max(0.0, (num_training_steps - step) / max(1, num_training_steps - warmup_steps))

    return LambdaLR(optimizer, factor, last_epoch)
