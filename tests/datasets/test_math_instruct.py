# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest

from mos_tune.datasets.math_instruct import math_instruct_dataset
from mos_tune.errors import UnusableExample
from mos_tune.tokenizers import CharTokenizer

# The two kinds of solutions that MathInstruct has, sorted by source as there.
IN_WORDS = {"source": "data/CoT/gsm_train.json", "output": "1 + 1 = 2\nThe answer is 2"}
AS_PROGRAM = {"source": "data/PoT/gsm_gpt4.json", "output": "x = 1\nif x:\n    print(x)"}


@pytest.fixture
def load(tmp_path):
    file = tmp_path / "MathInstruct.json"

    def load(rows, **options):
        file.write_text(json.dumps(rows))
        return math_instruct_dataset(
            CharTokenizer(), source="json", data_files=str(file), cache_dir=str(tmp_path), **options
        )

    return load


def test_solutions_are_trained_on_as_they_are_written(load):
    dataset = load([kind | {"instruction": "How many?"} for kind in (IN_WORDS, AS_PROGRAM)])
    tokenizer = CharTokenizer()
    for example, kind in zip(dataset, (IN_WORDS, AS_PROGRAM), strict=True):
        trained = [label for label in example["labels"] if label != -100]
        assert tokenizer.decode(trained) == kind["output"]
        text = tokenizer.decode(example["tokens"], skip_special_tokens=False)
        assert "<user>How many?<assistant>" in text and "data/" not in text


@pytest.mark.parametrize(("column", "reason"), [("instruction", "prompt"), ("output", "answer")])
@pytest.mark.parametrize("value", [None, " \n"])
def test_a_row_without_a_question_or_a_solution_is_unusable(load, column, reason, value):
    dataset = load(
        [IN_WORDS | {"instruction": "How many?"}, AS_PROGRAM | {"instruction": "?", column: value}]
    )
    assert dataset[0]["tokens"]
    with pytest.raises(UnusableExample, match=f"a blank {reason}"):
        dataset[1]


def test_a_part_has_rows_of_all_sources(load):
    rows = [kind | {"instruction": "?"} for kind in (IN_WORDS, AS_PROGRAM) for _ in range(50)]
    part = load(rows, fraction=0.1)
    assert len(part) == 10
    assert part.indices[0] < 50 <= part.indices[-1]
    assert load(rows, fraction=0.1).indices == part.indices
    assert load(rows, fraction=0.1, seed=1).indices != part.indices
