# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Chosen examples of any dataset."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch.utils.data import Dataset, Subset
from torchtune import config
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.datasets.held_out import held_out_indices
from mos_tune.datasets.rows import raw_row
from mos_tune.errors import UserError


def selected_dataset(
    tokenizer: ModelTokenizer,
    *,
    dataset: Mapping[str, Any],
    selection: str,
    held_out: Mapping[str, Any] | None = None,
) -> Dataset:
    """Build a dataset and keep the examples that a file lists.

    ``recipes/select_examples.py`` writes such files, and the config that has this builder in it.

    Args:
        tokenizer (ModelTokenizer): the model's tokenizer; another one than the examples were
            selected with will do.
        dataset (Mapping[str, Any]): the section of the dataset as it was when the examples were
            selected, with ``_component_``.
        selection (str): file of JSON lines, each with the ``index`` of an example and, if the
            dataset keeps what it has loaded, the ``row`` that has to be there.
        held_out (Mapping[str, Any] | None): which examples are not to be trained on, selected or
            not: the arguments of :func:`mos_tune.datasets.held_out.held_out_indices` after the
            first. Default None: all selected ones are.

    Returns:
        Dataset: the selected examples in the dataset's order.

    Raises:
        UserError: if the file cannot be read, or is of other data.
    """
    built: Any = config.instantiate(OmegaConf.create(dict(dataset)), tokenizer)
    indices: set[int] = set()
    for place, line in _lines(selection):
        index = line.get("index")
        if not isinstance(index, int) or not 0 <= index < len(built):
            raise UserError(
                f"{place} has the index {index}; the dataset has {len(built):,} examples"
            )
        if index in indices:
            raise UserError(f"{place} has the index {index} once more")
        if "row" in line and as_json(raw_row(built, index)) != line["row"]:
            raise UserError(
                f"{place} has another row than the dataset at index {index}; has the dataset "
                "changed since the examples were selected?"
            )
        indices.add(index)
    if not indices:
        raise UserError(f"selection {selection} is empty; at least 1 example is needed")
    if held_out is not None:
        indices.difference_update(held_out_indices(len(built), **held_out))
        if not indices:
            raise UserError(
                f"selection {selection} has only examples that held_out.fraction "
                f"{held_out['fraction']} holds out; select more"
            )
    return Subset(built, sorted(indices))


def as_json(row: Any) -> Any:
    """Give a row as it comes back from a file of JSON lines.

    Raises:
        TypeError: if it holds what JSON cannot.
    """
    return json.loads(json.dumps(row))


def _lines(selection: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        texts = Path(selection).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"selection {selection} cannot be read: {error}") from error
    lines = []
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        place = f"line {number} of selection {selection}"
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise UserError(f"{place} is no JSON object: {text[:60]!r}")
        lines.append((place, line))
    return lines
