# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The order of sequences within a dataset."""

from collections.abc import Mapping

import numpy as np

from mos_tune.mixture.randomness import counter_based_rng


class PassOrder:
    """Every sequence once per pass, in an order of its own per dataset and pass.

    Args:
        sizes (Mapping[str, int]): number of sequences of each dataset.
        seed (int): the run's seed.
        shuffle (bool): False keeps every dataset's own order in every pass.
    """

    def __init__(self, sizes: Mapping[str, int], *, seed: int, shuffle: bool) -> None:
        self.shuffle = shuffle
        self._sizes = sizes
        self._seed = seed
        self._orders: dict[str, tuple[int, np.ndarray]] = {}

    def index(self, name: str, count: int) -> int:
        """Give the sequence of a dataset that comes after ``count`` others."""
        passes, position = divmod(count, self._sizes[name])
        if not self.shuffle:
            return position
        known_pass, order = self._orders.get(name, (-1, np.empty(0, dtype=np.int64)))
        if known_pass != passes:
            rng = counter_based_rng(self._seed, "order", name, passes)
            order = rng.permutation(self._sizes[name])
            self._orders[name] = (passes, order)
        return int(order[position])
