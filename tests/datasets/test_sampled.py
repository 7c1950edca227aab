# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest

from mos_tune.datasets import (
    math_instruct_dataset,
    med_instruct_dataset,
    p3_dataset,
    sharegpt_dataset,
)
from mos_tune.datasets.sampled import sampled_dataset
from mos_tune.errors import UserError
from mos_tune.tokenizers import CharTokenizer

SIZE = 200


@pytest.fixture
def build(tmp_path):
    """Build a part of 200 rows whose question is their number."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"q": str(i), "a": "x"}) + "\n" for i in range(SIZE)))
    tokenizer = CharTokenizer()

    def build(**kwargs):
        options = {
            "builder": "torchtune.datasets.instruct_dataset",
            "source": "json",
            "data_files": str(file),
            "column_map": {"input": "q", "output": "a"},
            "cache_dir": str(tmp_path),
        }
        dataset = sampled_dataset(tokenizer, **options | kwargs)
        digits = [tokenizer.decode(example["tokens"]) for example in dataset]
        return [int("".join(c for c in text if c.isdigit())) for text in digits]

    return build


def test_a_fraction_is_distinct_in_order_and_spread(build):
    kept = build(fraction=0.1)
    assert len(kept) == 20
    assert kept == sorted(set(kept))
    # The first tenth of a sorted file is what this builder is there to avoid.
    assert kept[0] < SIZE / 2 < kept[-1]


def test_the_same_seed_keeps_the_same_examples(build):
    assert build(fraction=0.1) == build(fraction=0.1, seed=0)
    assert build(fraction=0.1) != build(fraction=0.1, seed=1)


@pytest.mark.parametrize(("fraction", "count"), [(1.0, SIZE), (0.5, SIZE // 2), (1e-6, 1)])
def test_how_many_are_kept(build, fraction, count):
    assert len(build(fraction=fraction)) == count


def test_the_whole_is_every_example(build):
    assert build(fraction=1) == list(range(SIZE))


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(build, fraction):
    with pytest.raises(UserError, match=f"fraction must be .* got {fraction}"):
        build(fraction=fraction, data_files="not loaded")


@pytest.mark.parametrize(
    "builder", [math_instruct_dataset, med_instruct_dataset, sharegpt_dataset, p3_dataset]
)
def test_the_paper_s_datasets_refuse_it_before_they_are_loaded(builder):
    with pytest.raises(UserError, match="fraction must be .* got 10"):
        builder(CharTokenizer(), source="/nowhere", fraction=10)
