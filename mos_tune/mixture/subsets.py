# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Which examples of a dataset are held out, and which are probed at a scorer update."""

import numpy as np

from mos_tune.errors import UserError, is_number
from mos_tune.mixture.randomness import counter_based_rng


def hold_out(size: int, fraction: float, *, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Split a dataset's indices into training and held-out ones.

    The split is a function of ``(seed, name, size, fraction)``: adding another dataset does not
    change it.

    Args:
        size (int): number of examples of the dataset.
        fraction (float): share of the examples to hold out, at least one example.
        seed (int): the run's seed.
        name (str): the dataset's name.

    Returns:
        tuple[np.ndarray, np.ndarray]: training indices in ascending order, and held-out ones in
            random order, so that the first few are a fair sample of a sorted dataset too.

    Raises:
        UserError: if ``fraction`` is not between 0 and 1, or leaves no training example.
    """
    if not is_number(fraction) or not 0 < fraction < 1:
        raise UserError(f"validation.fraction must lie between 0 and 1, got {fraction!r}")
    held = max(1, round(fraction * size))
    if held >= size:
        raise UserError(
            f"validation.fraction {fraction} of dataset.{name} ({size} examples) leaves no example "
            "to train on"
        )
    order = counter_based_rng(seed, "hold out", name).permutation(size)
    return np.sort(order[held:]), order[:held]


def probe_indices(size: int, count: int, *, seed: int, name: str, update: int) -> np.ndarray:
    """Draw the minibatch that measures one dataset's reward at one scorer update.

    Being a function of its arguments, the minibatches of all updates are known before step 1, which
    is what lets the untouched backbone's perplexities be computed then.

    Args:
        size (int): number of training examples of the dataset.
        count (int): examples wanted; a smaller dataset gives each of its examples once.
        seed (int): the run's seed.
        name (str): the dataset's name.
        update (int): number of the scorer update, from 1.

    Returns:
        np.ndarray: distinct indices into the training examples, ``min(count, size)`` of them.
    """
    rng = counter_based_rng(seed, "probe", name, update)
    return rng.choice(size, min(count, size), replace=False)
