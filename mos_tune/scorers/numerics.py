# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What the scorers in closed form share: floored shares, and checks of options and rewards."""

import math
from typing import Any

import torch
from torch import Tensor

from mos_tune.errors import UserError, is_number


def log_prior(prior: Tensor) -> Tensor:
    """Give the prior's logarithm in float64, finite also where it underflows to 0.

    From a logit of -inf no reward could bring a dataset back.
    """
    return prior.double().log().clamp_min(-700)


def floored_log_softmax(logits: Tensor, available: Tensor, floor: float) -> Tensor:
    r"""Compute ``log((1 - floor) * softmax(logits) + floor / |available|)``.

    Both are over the available datasets, so every one of them has its floor however many are left.

    Args:
        logits (Tensor): float64, shape ``[N]``; -inf for no more than the floor. If that is all
            that the available ones have, they become equally likely.
        available (Tensor): bool mask, at least one, shape ``[N]``.
        floor (float): the share that is dealt out evenly, from 0 to below 1.

    Returns:
        Tensor: float64, shape ``[N]``; -inf for an unavailable dataset.

    Raises:
        ValueError: if no dataset is available.
    """
    if not available.any():
        raise ValueError("no dataset is available; at least one must be")
    if torch.isneginf(logits[available]).all():
        logits = torch.zeros_like(logits)
    shares = torch.log_softmax(logits.masked_fill(~available, -torch.inf), dim=0)
    if floor:
        even = torch.full_like(shares, math.log(floor / int(available.sum())))
        shares = torch.logaddexp(shares + math.log1p(-floor), even)
    return shares.masked_fill(~available, -torch.inf)


def check_floor(floor: Any) -> float:
    """Check ``scorer.floor``, a share from 0 to below 1, and give it."""
    if not is_number(floor) or not 0 <= floor < 1:
        raise UserError(f"scorer.floor must be a number from 0 to below 1, got {floor!r}")
    return float(floor)


def check_at_least_0(key: str, value: Any) -> float:
    """Check an option that must be a number and not negative, and give it."""
    if not is_number(value) or value < 0:
        raise UserError(f"scorer.{key} must be a number of at least 0, got {value!r}")
    return float(value)


def one_row(rewards: Tensor, scorer: str) -> Tensor:
    """Check that there is one finite reward per dataset, and give it in float64, shape ``[N]``.

    Raises:
        UserError: naming the scorer if there are several, ValueError if one is not finite.
    """
    if rewards.dim() != 1:
        raise UserError(
            f"{scorer} learns from one number per dataset, but the reward gives "
            f"{rewards.shape[1]}; MirrorScorer takes signal and noise"
        )
    if not torch.isfinite(rewards).all():
        raise ValueError(f"rewards must be finite, got {rewards.tolist()}")
    return rewards.double()
