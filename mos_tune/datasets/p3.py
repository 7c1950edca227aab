# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The Public Pool of Prompts (P3), the paper's NLP dataset: 660 subsets of one schema."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from torch.utils.data import Dataset
from torchtune.data import Message
from torchtune.modules.transforms.tokenizers import ModelTokenizer
from tqdm import tqdm

from mos_tune.datasets.rows import RowsDataset, prompt_and_response, text_of
from mos_tune.datasets.sampled import check_fraction, keep_fraction
from mos_tune.distributed import get_world_size_and_rank, log_rank_zero
from mos_tune.errors import UserError, check_whole
from mos_tune.mixture.randomness import counter_based_rng

INPUT, TARGET = "inputs_pretokenized", "targets_pretokenized"


def p3_dataset(
    tokenizer: ModelTokenizer,
    *,
    source: str = "bigscience/P3",
    subsets: Sequence[str] | None = None,
    examples_per_subset: int = 1000,
    fraction: float = 1.0,
    seed: int = 0,
    split: str = "train",
) -> Dataset:
    """Draw examples from every subset of P3, join them and keep a part of all.

    The arguments are those of :func:`draw_p3` and ``fraction``, the share of the joined examples to
    keep, above 0 and at most 1 (default 1.0; the paper's is 0.1). Rows without a prompt or an
    answer are unusable.

    Returns:
        Dataset: the drawn examples, subset after subset, prompts masked.

    Raises:
        UserError: if ``fraction`` is out of range, or :func:`draw_p3` raises it.
    """
    check_fraction(fraction)
    rows = draw_p3(source, subsets, examples_per_subset=examples_per_subset, seed=seed, split=split)
    return keep_fraction(RowsDataset(rows, _to_messages, tokenizer), fraction, seed)


def draw_p3(
    source: str = "bigscience/P3",
    subsets: Sequence[str] | None = None,
    *,
    examples_per_subset: int = 1000,
    seed: int = 0,
    split: str = "train",
) -> datasets.Dataset:
    """Draw examples from every subset of P3 without replacement and join them.

    A subset's examples depend on the seed and its name alone, so adding or leaving out a subset
    does not change the others. The subsets for evaluation (``*_score_eval``) list right and wrong
    answers alike; only the right ones are drawn. Subsets without the split are left out and logged.

    Every subset is downloaded whole, which for all 660 takes long and much disk. To draw once and
    keep the result, write it to a file and train on that with
    ``torchtune.datasets.instruct_dataset``:

        >>> draw_p3().to_json("p3.jsonl")

    Args:
        source (str): a hub repository, or a local directory with a folder of data files per subset.
        subsets (Sequence[str] | None): names of subsets. Default None: all there are.
        examples_per_subset (int): examples to draw from each; a smaller subset gives all it has.
            Default 1000, the paper's.
        seed (int): which examples are drawn. Default 0.
        split (str): the split to draw from. Default "train".

    Returns:
        datasets.Dataset: rows with ``inputs_pretokenized`` and ``targets_pretokenized``.

    Raises:
        UserError: if ``examples_per_subset`` is below 1, no subset has the split, or the prompts or
            answers of one are not declared to be text.

    Source: https://huggingface.co/datasets/bigscience/P3; Mixture-of-Skills, section on datasets.
    """
    check_whole("examples_per_subset", examples_per_subset)
    names = _all_subsets(source) if subsets is None else list(subsets)
    _, rank = get_world_size_and_rank()
    drawn, left_out, small = [], [], 0
    for name in tqdm(names, desc="P3 subsets", disable=rank != 0):
        rows = _load_subset(source, name).get(split)
        if rows is None:
            left_out.append(name)
            continue
        for column in (INPUT, TARGET):
            # Of files without declared types they are guessed, and dates are no longer their text.
            declared = rows.features.get(column)
            if getattr(declared, "dtype", None) not in ("string", "large_string"):
                raise UserError(
                    f"subset {name} of {source} has {declared} as {column}, expected text"
                )
        candidates = _right_answers(rows)
        count = min(examples_per_subset, len(candidates))
        small += count < examples_per_subset
        rng = counter_based_rng(seed, "p3", name)
        chosen = np.sort(rng.choice(candidates, count, replace=False))
        drawn.append(rows.select(chosen).select_columns([INPUT, TARGET]))
    if not drawn:
        raise UserError(
            f"dataset source {source} has no split {split} in any of its {len(names)} subsets"
        )
    joined = datasets.concatenate_datasets(drawn)
    log_rank_zero(
        f"{source}: {len(joined)} examples of {len(drawn)} subsets, {small} of which have fewer "
        f"than {examples_per_subset}; "
        f"{len(left_out)} subsets without split {split}: {left_out}",
    )
    return joined


def _all_subsets(source: str) -> list[str]:
    if Path(source).is_dir():
        return sorted(p.name for p in Path(source).iterdir() if p.is_dir() and p.name[0] != ".")
    return datasets.get_dataset_config_names(source)


def _load_subset(source: str, name: str) -> datasets.DatasetDict:
    if Path(source).is_dir():
        return datasets.load_dataset(str(Path(source) / name))
    return datasets.load_dataset(source, name)


def _right_answers(rows: datasets.Dataset) -> np.ndarray:
    if "is_correct" not in rows.column_names:
        return np.arange(len(rows))
    return np.flatnonzero(rows.with_format("numpy")["is_correct"][:])


def _to_messages(row: Mapping[str, Any]) -> list[Message]:
    return prompt_and_response(text_of(row, INPUT), text_of(row, TARGET))
