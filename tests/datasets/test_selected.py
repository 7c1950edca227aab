# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest

from mos_tune.datasets import selected_dataset
from mos_tune.errors import UserError
from mos_tune.tokenizers import CharTokenizer

DATASET = {"_component_": "mos_tune.datasets.skill_dataset", "skill": "copy", "size": 50}
SAMPLED = {
    "_component_": "mos_tune.datasets.sampled_dataset",
    "builder": "mos_tune.datasets.skill_dataset",
    "fraction": 0.5,
    "skill": "copy",
    "size": 100,
}


@pytest.fixture
def select(tmp_path):
    path = tmp_path / "selection.jsonl"

    def select(*lines, dataset=DATASET):
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return selected_dataset(CharTokenizer(), dataset=dataset, selection=str(path))

    return select


@pytest.mark.parametrize("dataset", [DATASET, SAMPLED], ids=["whole", "part"])
def test_the_selected_examples_come_in_the_dataset_s_order(select, dataset):
    whole = select(*({"index": index} for index in range(50)), dataset=dataset)
    part = select({"index": 30, "score": 0.9}, {"index": 4, "score": None}, dataset=dataset)
    assert list(part) == [whole[4], whole[30]]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "is empty; at least 1 example"),
        ([{"index": 50}], "line 1 of selection .* the index 50; the dataset has 50 examples"),
        ([{"index": -1}], "the index -1"),
        ([{"score": 1.0}], "the index None"),
        ([{"index": 3}, {"index": 3}], "line 2 of .* has the index 3 once more"),
        ([7], "line 1 of .* is no JSON object: '7'"),
        ([{"index": 3, "row": {"question": "?"}}], "line 1 of .* another row .* at index 3; has"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(select, lines, words):
    with pytest.raises(UserError, match=words):
        select(*lines)


def test_a_missing_file_is_named():
    with pytest.raises(UserError, match="selection /nowhere.jsonl cannot be read"):
        selected_dataset(CharTokenizer(), dataset=DATASET, selection="/nowhere.jsonl")
