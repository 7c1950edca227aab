# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Datasets built from their sections of the config, the same on every rank."""

from typing import Any

from omegaconf import DictConfig
from torchtune.datasets import PackedDataset

from mos_tune.components import build
from mos_tune.data.file_faults import fault_of_files, paths_in
from mos_tune.data.torchtune_rows import read_as_text
from mos_tune.datasets.rows import json_row
from mos_tune.distributed import gather
from mos_tune.errors import BadRow, UserError

ROWS_COMPARED = 8
"""Over the ranks, evenly spread; any other row is read by one rank alone."""


def build_dataset(key: str, section: DictConfig, tokenizer: Any) -> Any:
    """Build a dataset; called on all ranks alike.

    Args:
        key (str): its place in the config, for messages.
        section (DictConfig): the builder and its own options.
        tokenizer (Any): passed to the builder.

    Returns:
        Any: the dataset, with a length of at least 1.

    Raises:
        UserError: on every rank, if it cannot be built on one, or is another on one; a ``BadRow``
            if that is the fault of its files.
    """
    dataset, size, error = None, 0, None
    try:
        dataset = _build(key, section, tokenizer)
        size = len(dataset)
    except UserError as raised:
        error = raised
    faults = gather(None if error is None else (isinstance(error, BadRow), str(error)))
    ranks = [rank for rank, fault in enumerate(faults) if fault is not None]
    if ranks:
        in_files, message = faults[ranks[0]]
        if len(ranks) < len(faults):
            message += f"; that is so on rank {_listed(ranks)} of {len(faults)} only"
        raise (BadRow(message, "no rows") if in_files else UserError(message)) from error
    _check_same(key, size, dataset)
    return dataset


def _build(key: str, section: DictConfig, tokenizer: Any) -> Any:
    try:
        dataset = build(key, section, tokenizer)
        if isinstance(dataset, PackedDataset):
            raise UserError(
                f"{key} gives packs of examples; rewards and held-out losses need the examples, "
                f"and dataset.{key.rpartition('.')[2]}.packed: True packs them for training"
            )
        try:
            size = len(dataset)
        except TypeError as error:
            raise UserError(f"{key} has no length; a mixture needs map-style datasets") from error
        if size == 0:
            raise UserError(f"{key} is empty; at least 1 example is needed")
        try:
            read_as_text(dataset, section)
        except UserError as error:
            raise UserError(f"{key}: {error}") from error
        return dataset
    except UserError as error:
        fault = fault_of_files(section, error)
        if fault is not None:
            raise BadRow(f"{key}: {fault}", "damaged file") from error
        named = with_files(key, section, error)
        if named is error:
            raise
        raise named from error


def with_files(key: str, section: DictConfig, error: UserError) -> UserError:
    """Add the files to an error that does not name them."""
    files = section.get("data_files")
    if files is None or any(file in str(error) for file in paths_in(files)):
        return error
    return UserError(f"{error}; {key}.data_files: {files}")


def _check_same(key: str, size: int, dataset: Any) -> None:
    sizes = gather(size)
    if others := _others(sizes):
        raise UserError(
            f"{key} has {sizes[others[0]]:,} examples on rank {_listed(others)} and {sizes[0]:,} "
            "on rank 0; do all nodes have the same files?"
        )
    if len(sizes) == 1:
        return
    for index in range(0, size, -(-size // ROWS_COMPARED)):
        if others := _others(gather(_content(dataset, index))):
            raise UserError(
                f"{key} has another example {index} on rank {_listed(others)} than on rank 0; do "
                "all nodes have the same files and tokenizer?"
            )


def _others(everyone: list[Any]) -> list[int]:
    return [rank for rank, one in enumerate(everyone) if one != everyone[0]]


def _listed(ranks: list[int]) -> str:
    return ", ".join(map(str, ranks))


def _content(dataset: Any, index: int) -> str:
    """Give what is to be the same everywhere of an example; nothing of one that cannot be read."""
    try:
        row = json_row(dataset, index)
        tokens, again = (list(map(int, dataset[index]["tokens"])) for _ in range(2))
    except Exception:  # the scan says what is wrong with it
        return ""
    return repr((row, tokens if tokens == again else None))
