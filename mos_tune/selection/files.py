# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a selection leaves: a file per dataset, and the config that trains on them."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mos_tune.datasets.rows import raw_row
from mos_tune.training.data import MIXTURE_OPTIONS


def write_selection(
    path: Path, dataset: Any, indices: Sequence[int], scores: Mapping[int, float]
) -> None:
    """Write ``{"index": ..., "score": ..., "row": ...}`` for every selected example.

    The file is there as a whole or not at all. Examples without a score have null; rows are left
    out where the dataset does not keep them, or JSON cannot hold them.
    """
    lines = []
    for index in indices:
        line: dict[str, Any] = {"index": index, "score": scores.get(index)}
        try:
            lines.append(json.dumps(line | {"row": raw_row(dataset, index)}))
        except (AttributeError, TypeError):
            lines.append(json.dumps(line))
    _write(path, "".join(f"{line}\n" for line in lines))


def write_unusable(path: Path, size: int, usable: Collection[int]) -> None:
    """Write which of a dataset's examples cannot be trained on, as a JSON list."""
    _write(path, json.dumps(sorted(set(range(size)).difference(usable))))


def write_config(
    path: Path, cfg: DictConfig, selections: Mapping[str, Path], unusable: Mapping[str, Path]
) -> None:
    """Write the training config with every dataset replaced by its selected examples.

    What ``validation.fraction`` holds out is a function of a dataset's size, and would be other
    examples here. So the config names those of the training config, for whatever seed it is run
    with, leaves them out of the training examples and measures on them.

    Args:
        path (Path): the file to write; the run will leave its output beside it, in ``run``.
        cfg (DictConfig): the config of all examples.
        selections (Mapping[str, Path]): the file of every dataset.
        unusable (Mapping[str, Path]): the file of every dataset by :func:`write_unusable`.
    """
    whole: Any = OmegaConf.to_container(cfg, resolve=False)
    whole.pop("selection", None)
    whole["output_dir"] = str(path.parent / "run")
    validation = whole.get("validation") or {}
    fraction = validation.pop("fraction", None)
    if fraction is not None:
        validation["dataset"] = {}
    for name, section in whole["dataset"].items():
        # Not the builder's: the mixture's options of a dataset stay where they are read.
        kept = {key: section.pop(key) for key in MIXTURE_OPTIONS if key in section}
        whole["dataset"][name] = {
            "_component_": "mos_tune.datasets.selected_dataset",
            "selection": str(selections[name]),
            "dataset": section,
            **kept,
        }
        if fraction is not None:
            held_out = {
                "fraction": fraction,
                "seed": "${seed}",
                "name": name,
                "unusable": str(unusable[name]),
            }
            whole["dataset"][name]["held_out"] = held_out
            validation["dataset"][name] = {
                "_component_": "mos_tune.datasets.held_out_dataset",
                "dataset": section,
                "held_out": held_out,
            }
    _write(path, OmegaConf.to_yaml(OmegaConf.create(whole)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
