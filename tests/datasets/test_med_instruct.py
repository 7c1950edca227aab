# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest

from mos_tune.datasets.med_instruct import med_instruct_dataset
from mos_tune.errors import UnusableExample
from mos_tune.tokenizers import CharTokenizer


@pytest.mark.parametrize(
    ("context", "prompt"),
    [
        ("Age 40, fever.", "Name the illness.\n\nAge 40, fever."),
        ("<noinput>", "Name the illness."),
        ("<NoInput> ", "Name the illness."),
        ("", "Name the illness."),
    ],
)
def test_the_input_follows_the_instruction_if_there_is_one(tmp_path, context, prompt):
    file = tmp_path / "rows.jsonl"
    row = {"instruction": "Name the illness.", "input": context, "output": "Flu."}
    file.write_text(json.dumps(row) + "\n")
    tokenizer = CharTokenizer()
    dataset = med_instruct_dataset(
        tokenizer, source="json", data_files=str(file), cache_dir=str(tmp_path)
    )
    text = tokenizer.decode(dataset[0]["tokens"], skip_special_tokens=False)
    assert f"<user>{prompt}<assistant>Flu." in text
    trained = [label for label in dataset[0]["labels"] if label != -100]
    assert tokenizer.decode(trained) == "Flu."


def test_null_is_an_empty_text_and_makes_a_row_unusable(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [
        {"instruction": "Name it.", "input": None, "output": "Flu."},
        {"instruction": "Name it.", "input": "", "output": None},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = med_instruct_dataset(
        CharTokenizer(), source="json", data_files=str(file), cache_dir=str(tmp_path)
    )
    assert dataset[0]["tokens"]
    with pytest.raises(UnusableExample, match="a blank answer"):
        dataset[1]


def test_a_part_is_drawn_by_the_seed(tmp_path):
    file = tmp_path / "rows.jsonl"
    row = {"instruction": "Name it.", "input": "<noinput>", "output": "Flu."}
    file.write_text((json.dumps(row) + "\n") * 40)

    def drawn(seed):
        return med_instruct_dataset(
            CharTokenizer(),
            source="json",
            data_files=str(file),
            cache_dir=str(tmp_path),
            fraction=0.25,
            seed=seed,
        ).indices

    assert len(drawn(0)) == 10
    assert drawn(0) == drawn(0) != drawn(1)
