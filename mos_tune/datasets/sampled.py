# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A random part of any dataset."""

from typing import Any

import numpy as np
from omegaconf import OmegaConf
from torch.utils.data import Dataset, Subset
from torchtune import config
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.errors import UserError, is_number
from mos_tune.mixture.randomness import counter_based_rng


def sampled_dataset(
    tokenizer: ModelTokenizer,
    *,
    builder: str,
    fraction: float,
    seed: int = 0,
    **builder_args: Any,
) -> Dataset:
    """Build a dataset and keep a random part of its examples.

    For builders of other packages; those of mos-tune take ``fraction`` and ``seed`` themselves.

    Args:
        tokenizer (ModelTokenizer): the model's tokenizer.
        builder (str): dotted path of any torchtune dataset builder.
        fraction (float): share of the examples to keep, above 0 and at most 1.
        seed (int): as in :func:`keep_fraction`.
        **builder_args (Any): the builder's own arguments.

    Returns:
        Dataset: the kept examples in their original order.

    Raises:
        UserError: if ``fraction`` is out of range.

    Example:
        >>> sampled_dataset(
        ...     tokenizer,
        ...     builder="torchtune.datasets.alpaca_dataset",
        ...     fraction=0.1,
        ... )
    """
    check_fraction(fraction)
    dataset = config.instantiate(
        OmegaConf.create({"_component_": builder, **builder_args}), tokenizer
    )
    return keep_fraction(dataset, fraction, seed)


def keep_fraction(dataset: Any, fraction: float, seed: int) -> Dataset:
    """Keep a random part of a dataset's examples.

    Unlike ``split: "train[:10%]"`` the part is representative of a file that is sorted by source,
    as MathInstruct is. How many of how many were kept is logged with the dataset's name when the
    examples are read before training.

    Args:
        dataset (Any): items by position, and a length.
        fraction (float): share of the examples to keep, checked; at least one example is kept.
        seed (int): which part: the same seed gives the same part. Builders have 0 as the default,
            and not the run's seed, so that runs with several seeds train on the same examples.

    Returns:
        Dataset: the kept examples in their original order.
    """
    if fraction == 1:
        return dataset
    size = len(dataset)
    count = min(size, max(1, round(fraction * size)))
    kept = counter_based_rng(seed, "sampled_dataset").choice(size, count, replace=False)
    return Subset(dataset, np.sort(kept).tolist())


def check_fraction(fraction: Any) -> None:
    """Check a share of examples, which can be done before a dataset is downloaded.

    Raises:
        UserError: if it is not above 0 and at most 1.
    """
    if not is_number(fraction) or not 0 < fraction <= 1:
        raise UserError(f"fraction must be above 0 and at most 1, got {fraction!r}")
