# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The mixture that a scorer, or without one the prior, gives."""

from typing import Any

import torch
from torch import Tensor

from mos_tune.errors import UserError
from mos_tune.mixture import renormalized
from mos_tune.rewards import Reward
from mos_tune.scorers import Scorer


def check_scorer(path: str, scorer: Any) -> None:
    """Check that a component can be asked what a scorer is asked.

    Args:
        path (str): ``scorer._component_``.
        scorer (Any): what it built.

    Raises:
        UserError: naming what it lacks.
    """
    if not isinstance(scorer, Scorer):
        wanted = (
            *Scorer.__annotations__,
            *(key for key in vars(Scorer) if not key.startswith("_")),
        )
        lacking = [key for key in wanted if not hasattr(scorer, key)]
        raise UserError(
            f"scorer._component_ {path} is no scorer, for it lacks {', '.join(lacking)}; "
            "mos_tune.scorers.Scorer has all that a scorer needs"
        )


def check_columns(reward: Reward, scorer: Scorer) -> None:
    """Check that a scorer takes as many numbers of each dataset as the reward gives.

    Raises:
        UserError: naming both.
    """
    given, taken = max(1, len(reward.columns)), getattr(scorer, "columns", 1)
    if given > taken:
        raise UserError(
            f"reward {type(reward).__name__} gives {given} numbers of each dataset "
            f"({', '.join(reward.columns)}), but scorer {type(scorer).__name__} takes {taken}"
        )


def what_it_takes(scorer: Scorer, rewards: Tensor) -> Tensor:
    """Give the rewards as they are to a scorer that is ``signed``, and to others clamped at 0."""
    return rewards if getattr(scorer, "signed", False) else rewards.clamp_min(0)


def current_mixture(scorer: Scorer | None, prior: Tensor, available: Tensor) -> Tensor:
    """Give the probabilities to draw with.

    Args:
        scorer (Scorer | None): asked if there is one.
        prior (Tensor): the mixture without a scorer, float64, shape ``[N]``.
        available (Tensor): bool mask of the datasets that may be drawn, shape ``[N]``.

    Returns:
        Tensor: float64, shape ``[N]``; all 0 when no dataset is available.

    Raises:
        UserError: if the scorer gives no probabilities.
    """
    if not available.any():
        return torch.zeros_like(prior)
    if scorer is None:
        return renormalized(prior, available)
    given = scorer.probabilities(available).detach().double()
    right = given.shape == prior.shape and bool((given >= 0).all()) and not given[~available].any()
    # nan fails the first comparison, infinity this one.
    if not right or abs(float(given.sum()) - 1) > 1e-6:
        raise UserError(
            f"scorer {type(scorer).__name__} gave the probabilities {given.tolist()}; there must "
            f"be {len(prior)}, none negative, with sum 1, and 0 for a dataset that is not available"
        )
    return given
