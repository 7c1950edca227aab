# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX
from torchtune.datasets import SFTDataset

from mos_tune.datasets.rows import RowsDataset, has_response, prompt_and_response
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
    ("length", "expected"),
    # <bos><user>, ten characters, <assistant>, one character, <eos>.
    [(None, True), (100, True), (16, True), (14, True), (13, False), (5, False)],
)
def test_has_response(length, expected):
    tokenizer = CharTokenizer(max_seq_len=length)
    messages = prompt_and_response("0123456789", "x")
    assert has_response(messages, tokenizer) is expected
    assert expected is not all(tokenizer({"messages": messages})["mask"])
