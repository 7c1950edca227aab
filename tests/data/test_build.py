# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A dataset that is another on one rank is refused by name, on every rank."""

import datasets
import pytest
from helpers.ranks import on_ranks
from omegaconf import OmegaConf

from mos_tune.data.build import build_dataset
from mos_tune.errors import UserError
from mos_tune.tokenizers import CharTokenizer

SKILL = {"_component_": "mos_tune.datasets.skill_dataset", "skill": "copy"}


def _built(rank, world_size, sections, max_seq_lens):
    section = OmegaConf.create(sections[rank])
    try:
        built = build_dataset("dataset.a", section, CharTokenizer(max_seq_lens[rank]))
    except UserError as error:
        return str(error)
    return len(built)


CASES = {
    "the same": ([SKILL | {"size": 30}] * 2, [64, 64], 30),
    "fewer rows than are compared": ([SKILL | {"size": 3}] * 2, [64, 64], 3),
    "another number of rows": (
        [SKILL | {"size": 30}, SKILL | {"size": 29}],
        [64, 64],
        "dataset.a has 29 examples on rank 1 and 30 on rank 0; do all nodes have the same files?",
    ),
    "other rows": (
        [SKILL | {"size": 30}, SKILL | {"size": 30, "seed": 1}],
        [64, 64],
        "dataset.a has another example 0 on rank 1 than on rank 0; do all nodes have the same "
        "files and tokenizer?",
    ),
    "another tokenizer": (
        [SKILL | {"size": 30}] * 2,
        [64, 9],
        "dataset.a has another example 0 on rank 1 than on rank 0; do all nodes have the same "
        "files and tokenizer?",
    ),
    "cannot be built on one": (
        [SKILL | {"size": 30}, SKILL | {"size": 0}],
        [64, 64],
        "dataset.a: size of the dataset of skill copy must be at least 1, got 0; that is so on "
        "rank 1 of 2 only",
    ),
    "cannot be built": (
        [SKILL | {"size": 0}] * 2,
        [64, 64],
        "dataset.a: size of the dataset of skill copy must be at least 1, got 0",
    ),
}


def _every_case(rank, world_size):
    return [_built(rank, world_size, *case[:2]) for case in CASES.values()]


def test_every_rank_says_the_same(tmp_path):
    for answers in on_ranks(2, _every_case, tmp_path):
        assert answers == [expected for _, _, expected in CASES.values()]


def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    section = OmegaConf.create(
        {
            "_component_": "torchtune.datasets.instruct_dataset",
            "source": "json",
            "data_files": str(tmp_path / "gone.jsonl"),
        }
    )
    with pytest.raises(UserError, match=f"^dataset.a: {tmp_path}/gone.jsonl does not exist$"):
        build_dataset("dataset.a", section, CharTokenizer())
