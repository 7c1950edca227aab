# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Twins: examples with the same tokens and labels, in one dataset or in two."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from mos_tune.distributed import log_rank_zero
from mos_tune.errors import UserError


def without_held_out(
    train: Mapping[str, np.ndarray], held_out: Mapping[str, np.ndarray], *, keep: bool
) -> dict[str, np.ndarray]:
    """Leave out what is held out elsewhere: its held-out loss would be that of training.

    Args:
        train (Mapping[str, np.ndarray]): hashes of training examples by a dataset's place in the
            config.
        held_out (Mapping[str, np.ndarray]): those of all held-out examples, measured or not, so
            that ``validation.max_examples`` changes no training set.
        keep (bool): count them only, per pair.

    Returns:
        dict[str, np.ndarray]: positions among the training examples, ascending.

    Raises:
        UserError: if none is left.
    """
    kept = {}
    for key, hashes in train.items():
        twin = np.zeros(len(hashes), dtype=bool)
        for other, held in held_out.items():
            same = np.isin(hashes, held)
            twin |= same
            if same.any():
                log_rank_zero(
                    f"{key}: {same.sum():,} of {len(hashes):,} training examples are also held out "
                    f"of {other}; they are {'' if keep else 'not '}trained on "
                    f"(validation.keep_twins: {keep})"
                )
        if not keep and twin.all():
            raise UserError(
                f"{key}: all of its {len(hashes):,} training examples are also held out; "
                "validation.keep_twins: True trains on them"
            )
        kept[key] = np.arange(len(hashes)) if keep else np.flatnonzero(~twin)
    return kept


def count_twins(train: Mapping[str, np.ndarray]) -> None:
    """Log how many training examples stand in two datasets, or in one more than once."""
    for key, hashes in train.items():
        _, counts = np.unique(hashes, return_counts=True)
        if (counts > 1).any():
            twins = counts[counts > 1].sum()
            log_rank_zero(
                f"{key}: {twins:,} of {len(hashes):,} training examples stand in it more than once"
            )
    for (first, hashes), (second, others) in combinations(train.items(), 2):
        for key, ours, other, theirs in (
            (first, hashes, second, others),
            (second, others, first, hashes),
        ):
            if shared := int(np.isin(ours, theirs).sum()):
                log_rank_zero(
                    f"{key}: {shared:,} of {len(ours):,} training examples stand in {other} too"
                )
