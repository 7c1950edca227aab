# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Whether a dataset's examples are those that a checkpoint was written with."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch.utils.data import Dataset, Subset
from torchtune import utils

from mos_tune.errors import UnusableExample, UserError
from mos_tune.mixture import counter_based_rng
from mos_tune.training.data import MixtureData

log = utils.get_logger("INFO")

_TOKENIZED = 32
_ROWS_AT_ONCE = 1000


def fingerprints(data: MixtureData) -> dict[str, dict[str, Any]]:
    """Take the fingerprint of every dataset, and of held-out datasets of their own.

    It has the number of examples, a hash of all raw rows where the dataset keeps a
    ``datasets.Dataset``, as torchtune's builders and ours do, and a hash of tokens and labels of 32
    examples, always the same ones. So another tokenizer, template or column map is found with any
    dataset, and a changed row with those alone that keep such a table. Files' names, paths and
    times do not count, nor how a table is cut into chunks.

    Every rank hashes for itself, so that a rank with other files is found too. It takes hundreds of
    MB/s, less than a third of that where rows were filtered or shuffled (then ``datasets`` gathers
    them one by one); ``benchmarks/checkpoint_cost.py`` measures it.

    Args:
        data (MixtureData): the datasets as they were built.

    Returns:
        dict[str, dict[str, Any]]: by place in the config ``examples``, ``rows`` (None without a
            table) and ``tokens`` (None if reading an example twice gives two things).
    """
    subsets = [*data.train.values(), *data.held_out.values()]
    # A held-out part has its training set's key and dataset.
    return {key: _fingerprint(key, one) for key, one in {s.key: s.dataset for s in subsets}.items()}


def check_same_examples(
    here: Mapping[str, Mapping[str, Any]], saved: Mapping[str, Mapping[str, Any]]
) -> None:
    """Compare fingerprints with a checkpoint's; datasets that only one of them has are left out.

    Raises:
        UserError: naming the first dataset that differs, in what, and both values.
    """
    for key in [key for key in here if key in saved]:
        mine, other = here[key], saved[key]
        if mine["examples"] != other["examples"]:
            raise UserError(
                f"{key} has {mine['examples']} examples, the checkpoint was written with "
                f"{other['examples']}"
            )
        if mine["rows"] != other["rows"]:
            raise UserError(
                f"{key} has other rows than the checkpoint was written with: their hash is "
                f"{mine['rows']}, the checkpoint has {other['rows']}"
            )
        if mine["tokens"] != other["tokens"]:
            what = "the same rows, but other tokens or labels" if mine["rows"] else "other examples"
            raise UserError(
                f"{key} has {what} than the checkpoint was written with: the hash of "
                f"{_TOKENIZED} of them is {mine['tokens']}, the checkpoint has {other['tokens']}. "
                "Has the tokenizer or an option of the dataset changed?"
            )


def _fingerprint(key: str, dataset: Any) -> dict[str, Any]:
    tokens: str | None = _hash_tokens(dataset)
    if tokens != _hash_tokens(dataset):
        utils.log_rank_zero(
            log, f"{key} gives another example each time one is read; no resume of it is exact"
        )
        tokens = None
    digest, size = hashlib.blake2b(digest_size=8), 0
    for table in _tables(dataset):
        size += 1
        _hash_table(digest, table)
    return {
        "examples": len(dataset),
        "rows": digest.hexdigest() if size else None,
        "tokens": tokens,
    }


def _hash_tokens(dataset: Any) -> str:
    size = len(dataset)
    rng = counter_based_rng(0, "fingerprint", size)
    chosen = sorted(rng.choice(size, min(size, _TOKENIZED), replace=False).tolist())
    digest = hashlib.blake2b(digest_size=8)
    for index in chosen:
        try:
            example = dataset[index]
        except UnusableExample as reason:  # left out of training
            digest.update(str(reason).encode())
            continue
        for part in (example["tokens"], example["labels"]):
            digest.update(len(part).to_bytes(8, "little") + np.asarray(part, "<i8").tobytes())
    return digest.hexdigest()


def _tables(dataset: Any) -> Iterator[datasets.Dataset]:
    """Give the tables that a dataset, or those it is made of, keeps in an attribute."""
    if isinstance(dataset, datasets.Dataset):
        yield dataset
    elif isinstance(dataset, Subset):
        for table in _tables(dataset.dataset):
            yield table.select(dataset.indices)
    elif isinstance(dataset, Dataset):
        for _, value in sorted(vars(dataset).items()):
            for part in value if isinstance(value, (list, tuple)) else [value]:
                yield from _tables(part)


def _hash_table(digest: Any, table: datasets.Dataset) -> None:
    rows = table.with_format("arrow")
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        for name in sorted(part.column_names):
            digest.update(name.encode())
            _hash_column(digest, part[name].combine_chunks())


def _hash_column(digest: Any, column: pa.Array) -> None:
    """Hash values, not memory: one column may lie in memory in several ways and types."""
    kind = column.type
    if column.null_count:
        digest.update(np.asarray(column.is_null()).tobytes())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _hash_lengths(digest, pc.list_value_length(column))
        _hash_column(digest, column.flatten())
    elif pa.types.is_struct(kind):
        for field, values in sorted(zip([f.name for f in kind], column.flatten(), strict=True)):
            digest.update(field.encode())
            _hash_column(digest, values)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = pc.fill_null(column, "").cast(pa.large_string())
        _hash_lengths(digest, pc.binary_length(texts))
        _, offsets, text = texts.buffers()
        ends = np.frombuffer(offsets, "<i8")[texts.offset : texts.offset + len(texts) + 1]
        if text is not None and len(texts):
            digest.update(memoryview(text)[ends[0] : ends[-1]])
    elif pa.types.is_integer(kind):
        digest.update(np.asarray(pc.fill_null(column, 0)).astype("<i8").tobytes())
    else:
        digest.update(json.dumps(column.to_pylist(), default=str).encode())


def _hash_lengths(digest: Any, lengths: pa.Array) -> None:
    digest.update(np.asarray(pc.fill_null(lengths, 0)).astype("<i8").tobytes())
