# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""UniMax: as uniform as a limit on the passes over each dataset allows."""

from collections.abc import Mapping

from mos_tune.errors import UserError, is_number


def unimax(
    sizes: Mapping[str, int],
    *,
    budget: float,
    epochs: float = 4.0,
    lengths: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Deal a run's draws out evenly, to no dataset more than so many passes over it.

    It lies between two usual priors: where all datasets are large it is uniform, and where all are
    scarce it is by size. In between, datasets that the limit does not touch have equal shares.

    Args:
        sizes (Mapping[str, int]): number of training sequences of each dataset.
        budget (float): sequences that the whole run draws.
        epochs (float): most passes over a dataset. Default 4: up to that repeats have been found
            nearly as good as new text (Muennighoff et al., 2023).
        lengths (Mapping[str, float] | None): mean tokens of a sequence, to deal out tokens in
            place of draws. Default None.

    Returns:
        dict[str, float]: draws of each dataset, or tokens. The draws' sum is the budget, or less
        where all datasets reach the limit.

    Raises:
        UserError: if ``epochs`` is no number above 0.

    Source: UniMax (arXiv 2304.09151), section 3.

    Example:
        >>> unimax({"small": 10, "large": 1000, "larger": 5000}, budget=640)
        {'small': 40, 'large': 300.0, 'larger': 300.0}
    """
    if not is_number(epochs) or epochs <= 0:
        raise UserError(f"sampler.unimax_epochs must be a number above 0, got {epochs!r}")
    lengths = lengths or dict.fromkeys(sizes, 1)
    limits = {name: epochs * size * lengths[name] for name, size in sizes.items()}
    shares: dict[str, float] = {}
    left = budget
    for name in sorted(limits, key=lambda name: limits[name]):
        # Draws that one token, or draw, for each of the datasets that are left takes.
        price = sum(1 / lengths[other] for other in limits if other not in shares)
        shares[name] = min(left / price, limits[name])
        left -= shares[name] / lengths[name]
    return {name: shares[name] for name in sizes}
