# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The examples that a run on the whole dataset holds out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch.utils.data import Dataset, Subset
from torchtune import config
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.checks import check_whole
from mos_tune.errors import UserError
from mos_tune.mixture.subsets import hold_out


def held_out_dataset(
    tokenizer: ModelTokenizer, *, dataset: Mapping[str, Any], held_out: Mapping[str, Any]
) -> Dataset:
    """Build a dataset and keep what ``validation.fraction`` would hold out of it.

    ``recipes/select_examples.py`` writes configs with this builder, so that a run on a part of the
    examples is measured on the same ones as a run on all of them.

    Args:
        tokenizer (ModelTokenizer): the model's tokenizer.
        dataset (Mapping[str, Any]): the section of the whole dataset, with ``_component_``.
        held_out (Mapping[str, Any]): the arguments of :func:`held_out_indices` after the first.

    Returns:
        Dataset: the held-out examples in the order in which that run takes them, so that the first
            ``validation.max_examples`` are the same.

    Raises:
        UserError: as in :func:`held_out_indices`.
    """
    built: Any = config.instantiate(OmegaConf.create(dict(dataset)), tokenizer)
    return Subset(built, held_out_indices(len(built), **held_out))


def held_out_indices(
    size: int, *, fraction: float, seed: int, name: str, unusable: str
) -> list[int]:
    """Tell which examples a run on the whole dataset holds out.

    Args:
        size (int): number of examples of the whole dataset.
        fraction (float): that run's ``validation.fraction``.
        seed (int): that run's ``seed``.
        name (str): the dataset's name there.
        unusable (str): JSON file with the list of the examples that cannot be trained on: they are
            left out before the rest is split.

    Returns:
        list[int]: their indices, in random order.

    Raises:
        UserError: if the file cannot be read, or ``fraction`` or ``seed`` will not do.
    """
    # A seed that is drawn at every start would hold out others than the run's.
    check_whole("held_out.seed, which is the run's,", seed, 0)
    try:
        left_out = set(json.loads(Path(unusable).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"held_out.unusable {unusable} cannot be read: {error}") from error
    usable = [index for index in range(size) if index not in left_out]
    _, held = hold_out(len(usable), fraction, seed=seed, name=name)
    return [usable[position] for position in held]
