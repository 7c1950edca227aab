# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Files that name the examples of a dataset to train on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mos_tune.datasets.rows import json_row
from mos_tune.distributed import log_rank_zero
from mos_tune.errors import UserError
from mos_tune.files import write_whole


def write_selection(
    path: Path, dataset: Any, indices: Sequence[int], scores: Mapping[int, float]
) -> None:
    """Write ``{"index": ..., "score": ..., "row": ...}`` for every selected example.

    Examples without a score have null; rows are left out where the dataset does not keep
    them, or JSON cannot hold them.
    """
    lines = []
    for index in indices:
        line: dict[str, Any] = {"index": index, "score": scores.get(index)}
        row = json_row(dataset, index)
        lines.append(json.dumps(line if row is None else line | {"row": row}))
    write_whole(path, "".join(f"{line}\n" for line in lines))


def chosen_positions(key: str, file: str, dataset: Any, training: Sequence[int]) -> list[int]:
    """Tell which training examples a file selects, and log how many they are.

    Args:
        key (str): the option's place in the config, for messages.
        file (str): JSON lines, each with the ``index`` of an example and, as
            ``recipes/select_examples.py`` writes them, the ``row`` that has to be there.
        dataset (Any): the dataset as it was built.
        training (Sequence[int]): the indices of its examples that can be trained on and are not
            held out.

    Returns:
        list[int]: positions in ``training``, ascending and at least one.

    Raises:
        UserError: if the file cannot be read, is of other data or selects no training example.
    """
    selected = _read(key, file, dataset)
    positions = [position for position, index in enumerate(training) if index in selected]
    others = len(selected) - len(positions)
    if not positions:
        raise UserError(f"{key} {file}: all of its {others:,} examples are held out or left out")
    what = f"{len(positions):,} of {len(training):,} training examples"
    if others:
        what += f" ({others:,} of the {len(selected):,} selected are held out or left out)"
    log_rank_zero(f"{key}: {what}")
    return positions


def _read(key: str, file: str, dataset: Any) -> set[int]:
    try:
        texts = Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{key} {file} cannot be read: {error}") from error
    indices: set[int] = set()
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        place = f"line {number} of {key} {file}"
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            raise UserError(f"{place} is no JSON object: {text[:60]!r}")
        index = line.get("index")
        if type(index) is not int or not 0 <= index < len(dataset):
            raise UserError(
                f"{place} has the index {index!r}; the dataset has {len(dataset):,} examples"
            )
        if index in indices:
            raise UserError(f"{place} has the index {index} once more")
        if "row" in line and json_row(dataset, index) != line["row"]:
            raise UserError(
                f"{place} has another row than the dataset at index {index}; has the dataset "
                "changed since the examples were selected?"
            )
        indices.add(index)
    if not indices:
        raise UserError(f"{key} {file} is empty; at least 1 example is needed")
    return indices
