# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""MathInstruct, the paper's mathematics dataset."""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset
from torchtune.data import Message
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.datasets.rows import RowsDataset, prompt_and_response, text_of
from mos_tune.datasets.sampled import check_fraction, keep_fraction
from mos_tune.datasets.sources import load_rows


def math_instruct_dataset(
    tokenizer: ModelTokenizer,
    *,
    source: str | None = "TIGER-Lab/MathInstruct",
    data_files: Any = None,
    split: str = "train",
    fraction: float = 1.0,
    seed: int = 0,
    **load_dataset_kwargs: Any,
) -> Dataset:
    """Load mathematical questions and their solutions, in words or as programs.

    The rows are sorted by where they come from, which their ``source`` tells, so a part of them has
    to be drawn at random. Rows without an instruction or an output are unusable.

    Args:
        tokenizer (ModelTokenizer): the model's tokenizer.
        source (str | None): a repository whose rows have ``instruction`` and ``output``; null
            for ``data_files`` on their own.
        data_files (Any): as in :func:`~mos_tune.datasets.instruction_dataset`.
        split (str): the split to load. Default "train", the only one published.
        fraction (float): share of the rows to draw, above 0 and at most 1. Default 1.0; the paper's
            is 0.1.
        seed (int): which rows are drawn. Default 0.
        **load_dataset_kwargs (Any): ``field``, or more arguments of
            ``datasets.load_dataset``.

    Returns:
        Dataset: the examples in the file's order, prompts masked.

    Raises:
        UserError: if ``fraction`` is out of range.

    Source: https://huggingface.co/datasets/TIGER-Lab/MathInstruct.
    """
    check_fraction(fraction)
    rows = load_rows(source, data_files, split, **load_dataset_kwargs)
    return keep_fraction(RowsDataset(rows, _to_messages, tokenizer), fraction, seed)


def _to_messages(row: Mapping[str, Any]) -> list[Message]:
    return prompt_and_response(text_of(row, "instruction"), text_of(row, "output"))
