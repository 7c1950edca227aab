# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""MedInstruct-52k, the paper's medicine dataset."""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import Dataset
from torchtune.data import Message
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.datasets.rows import RowsDataset, prompt_and_response, text_of
from mos_tune.datasets.sampled import check_fraction, keep_fraction
from mos_tune.datasets.sources import load_rows

NO_INPUT = "<noinput>"


def med_instruct_dataset(
    tokenizer: ModelTokenizer,
    *,
    source: str | None = "lavita/AlpaCare-MedInstruct-52k",
    data_files: Any = None,
    split: str = "train",
    fraction: float = 1.0,
    seed: int = 0,
    **load_dataset_kwargs: Any,
) -> Dataset:
    """Load medical instructions with an optional input and their responses.

    The input follows the instruction after a blank line. Rows without one carry the marker
    ``<noinput>`` in its place, which torchtune's ``alpaca_dataset`` would train on as if it were a
    text. Rows without an instruction or an output are unusable.

    Args:
        tokenizer (ModelTokenizer): the model's tokenizer.
        source (str | None): a repository whose rows have ``instruction``, ``input`` and
            ``output``; null for ``data_files`` on their own.
        data_files (Any): as in :func:`~mos_tune.datasets.instruction_dataset`.
        split (str): the split to load. Default "train", the only one published.
        fraction (float): share of the rows to draw, above 0 and at most 1. Default 1.0; the
            paper's is 0.1.
        seed (int): which rows are drawn. Default 0.
        **load_dataset_kwargs (Any): ``field``, or more arguments of
            ``datasets.load_dataset``.

    Returns:
        Dataset: the examples in the file's order, prompts masked.

    Raises:
        UserError: if ``fraction`` is out of range.

    Source: https://huggingface.co/datasets/lavita/AlpaCare-MedInstruct-52k.
    """
    check_fraction(fraction)
    rows = load_rows(source, data_files, split, **load_dataset_kwargs)
    return keep_fraction(RowsDataset(rows, _to_messages, tokenizer), fraction, seed)


def _to_messages(row: Mapping[str, Any]) -> list[Message]:
    context = text_of(row, "input")
    prompt = text_of(row, "instruction")
    if context and context.lower() != NO_INPUT:
        prompt = f"{prompt}\n\n{context}"
    return prompt_and_response(prompt, text_of(row, "output"))
