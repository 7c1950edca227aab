# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Probabilities when some datasets may no longer be drawn."""

import torch
from torch import Tensor


def renormalized(probabilities: Tensor, available: Tensor) -> Tensor:
    """Set unavailable datasets to 0 and make the others sum to 1.

    Args:
        probabilities (Tensor): of each dataset, shape ``[N]``.
        available (Tensor): bool mask, shape ``[N]``.

    Returns:
        Tensor: shape ``[N]``; bit for bit the argument if all are available. If the available ones
            all have probability 0, they become equally likely.

    Raises:
        ValueError: if no dataset is available.

    Example:
        >>> half = torch.tensor([0.5, 0.25, 0.25])
        >>> renormalized(half, torch.tensor([False, True, True])).tolist()
        [0.0, 0.5, 0.5]
    """
    if not available.any():
        raise ValueError("no dataset is available; at least one must be")
    if available.all():
        return probabilities
    left = torch.where(available, probabilities, 0)
    if left.sum() == 0:
        left = available.to(probabilities.dtype)
    return left / left.sum()
