# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The prior over datasets (Eq. 3)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mos_tune.errors import UserError


def tempered_prior(sizes: Mapping[str, float], temperature: float) -> Tensor:
    r"""Compute ``q_tau(i) = q(i)^(1/tau) / sum_n q(n)^(1/tau)``, q being the shares of examples.

    Args:
        sizes (Mapping[str, float]): of each dataset: its training sequences, or their tokens.
        temperature (float): tau. 1 is proportional to size, infinity is uniform.

    Returns:
        Tensor: float64 probabilities with shape ``[N]``, in the order of ``sizes``.

    Raises:
        UserError: if tau is not a number above 0.

    Source: Mixture-of-Skills, Eq. 3.

    Example:
        >>> tempered_prior({"a": 300, "b": 100}, 1.0).tolist()
        [0.75, 0.25]
    """
    try:
        tau = float(temperature)
    except (TypeError, ValueError):
        tau = math.nan
    if isinstance(temperature, bool) or not tau > 0:
        raise UserError(
            f"sampler.temperature must be a number above 0 (inf for uniform), got {temperature!r}"
        )
    log_sizes = torch.tensor(list(sizes.values()), dtype=torch.float64).log()
    return torch.softmax(log_sizes / tau, dim=0)
