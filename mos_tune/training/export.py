# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The exported checkpoint, made consistent for other programs."""

import json
import os
from pathlib import Path

from safetensors import safe_open

INDEX = "model.safetensors.index.json"


def tidy_index(folder: Path) -> None:
    """Take tensors out of an export's index that none of its files has.

    torchtune writes the index from the checkpoint that training began with. Where that holds a tied
    output layer twice, as Qwen1.5's does, the index would name a tensor that is not exported, and
    converters that check for all of them would stop.

    Args:
        folder (Path): an ``epoch_N`` folder; without an index nothing happens.
    """
    path = folder / INDEX
    if not path.is_file():
        return
    index = json.loads(path.read_text(encoding="utf-8"))
    written: set[str] = set()
    for name in set(index["weight_map"].values()):
        with safe_open(folder / name, framework="pt") as file:
            written.update(file.keys())
    kept = {tensor: name for tensor, name in index["weight_map"].items() if tensor in written}
    if kept != index["weight_map"]:
        index["weight_map"] = kept
        unfinished = path.with_name(f".{INDEX}.{os.getpid()}")
        unfinished.write_text(json.dumps(index, indent=2), encoding="utf-8")
        os.replace(unfinished, path)
