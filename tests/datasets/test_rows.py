# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX
from torchtune.datasets import SFTDataset

from mos_tune.datasets.rows import RowsDataset, prompt_and_response, text_of
from mos_tune.errors import UnusableExample, UserError
from mos_tune.tokenizers import CharTokenizer

ROWS = [{"q": "one", "a": "1"}, {"q": "two", "a": "22"}]


def to_messages(row):
    return prompt_and_response(row["q"], row["a"])


def test_examples_are_those_of_torchtune(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"q": "one", "a": "1"}\n{"q": "two", "a": "22"}\n')
    tokenizer = CharTokenizer()
    theirs = SFTDataset(
        source="json",
        data_files=str(file),
        split="train",
        cache_dir=str(tmp_path),
        message_transform=lambda row: {"messages": to_messages(row)},
        model_transform=tokenizer,
    )
    ours = RowsDataset(ROWS, to_messages, tokenizer)
    assert len(ours) == len(theirs) == 2
    for mine, reference in zip(ours, theirs, strict=True):
        for key in ("tokens", "mask", "labels"):
            assert mine[key] == reference[key]


def test_only_the_response_is_trained_on():
    tokenizer = CharTokenizer()
    example = RowsDataset(ROWS, to_messages, tokenizer)[1]
    trained = [token for token in example["labels"] if token != CROSS_ENTROPY_IGNORE_IDX]
    assert trained == tokenizer.encode("22", add_bos=False, add_eos=True)


@pytest.mark.parametrize(
    ("prompt", "response", "reason"),
    [(" \n", "x", "a blank prompt"), ("x", "", "a blank answer"), ("", "", "a blank prompt")],
)
def test_a_blank_part_makes_a_row_unusable(prompt, response, reason):
    dataset = RowsDataset([{"q": prompt, "a": response}], to_messages, CharTokenizer())
    assert len(dataset) == 1
    with pytest.raises(UnusableExample, match=f"^{reason}$"):
        dataset[0]


def test_text_of_a_column():
    row = {"text": " a b\n", "null": None, "number": 3, "list": ["a"], "yes": True}
    assert (text_of(row, "text"), text_of(row, "null")) == ("a b", "")
    for column in ("number", "list", "yes"):
        with pytest.raises(UserError, match=f"{column} is .*expected text"):
            text_of(row, column)
    with pytest.raises(UserError, match="there is no column gone, but text, null, number, list"):
        text_of(row, "gone")
    with pytest.raises(UserError, match="half is no text: surrogates not allowed"):
        text_of({"half": "\ud83d"}, "half")
