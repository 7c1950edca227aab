# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The selected examples, by their scores or at random, and the config that trains on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mos_tune.errors import UserError
from mos_tune.files import write_whole
from mos_tune.mixture.randomness import counter_based_rng

HIGHEST = 1.0
"""Where an answer is harder to predict after its instruction, the two hardly belong together."""


def choose_hardest(
    key: str, indices: Sequence[int], scores: Mapping[int, float], fraction: float
) -> list[int]:
    """Choose the examples with the highest scores of at most :data:`HIGHEST`.

    Args:
        key (str): the dataset's place in the config, for the message.
        indices (Sequence[int]): all examples that can be trained on.
        scores (Mapping[int, float]): IFD by example.
        fraction (float): share of ``indices`` to choose, at least one; fewer if not so many
            have a score of at most 1.

    Returns:
        list[int]: the chosen examples, the highest score first; equal ones in the dataset's order.

    Raises:
        UserError: if no example has a score of at most 1.
    """
    fitting = [index for index in indices if scores[index] <= HIGHEST]
    if not fitting:
        raise UserError(
            f"{key}: none of its {len(indices):,} examples has an IFD of at most {HIGHEST:g}; do "
            "model and tokenizer belong together?"
        )
    return sorted(fitting, key=lambda index: (-scores[index], index))[: _count(indices, fraction)]


def choose_any(name: str, indices: Sequence[int], fraction: float, seed: int) -> list[int]:
    """Choose examples at random, as many as :func:`choose_hardest` at most.

    The choice is a function of ``(seed, name, number of examples, fraction)``.

    Args:
        name (str): the dataset's name.
        indices (Sequence[int]): all examples that can be trained on.
        fraction (float): share of them to choose, at least one.
        seed (int): which ones.

    Returns:
        list[int]: the chosen examples in the dataset's order.
    """
    rng = counter_based_rng(seed, "selection", name)
    drawn = rng.choice(len(indices), _count(indices, fraction), replace=False)
    return sorted(indices[position] for position in drawn)


def write_config(path: Path, cfg: DictConfig, selections: Mapping[str, Path]) -> None:
    """Write the training config with the selection of every dataset.

    Args:
        path (Path): the file to write; the run will leave its output beside it, in ``run``.
        cfg (DictConfig): the config of all examples.
        selections (Mapping[str, Path]): the file of every dataset.
    """
    whole: Any = OmegaConf.to_container(cfg, resolve=False)
    whole.pop("selection", None)
    whole["output_dir"] = str(path.parent / "run")
    for name, file in selections.items():
        whole["dataset"][name]["selection"] = str(file)
    write_whole(path, OmegaConf.to_yaml(OmegaConf.create(whole)))


def _count(indices: Sequence[int], fraction: float) -> int:
    return max(1, round(fraction * len(indices)))
