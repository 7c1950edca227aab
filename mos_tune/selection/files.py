# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a selection leaves: a file per dataset, and the config that trains on them."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mos_tune.datasets.rows import json_row


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
        row = json_row(dataset, index)
        lines.append(json.dumps(line if row is None else line | {"row": row}))
    _write(path, "".join(f"{line}\n" for line in lines))


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
