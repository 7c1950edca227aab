# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from helpers.ranks import on_ranks

from mos_tune.errors import UnusableExample, UserError
from mos_tune.tokenizers import CharTokenizer
from mos_tune.training.reading import cannot_be_read, usable_examples

TOKENIZER = CharTokenizer()
MASKED = {"tokens": [1, 9, 8], "labels": [-100, -100, -100]}
BLANK = {"tokens": [1, 9, 2], "labels": [-100, -100, 2]}
GOOD = {"tokens": [1, 9, 8, 2], "labels": [-100, -100, 8, 2]}
# The label of the first token is never predicted.
FIRST_ONLY = {"tokens": [9, 8], "labels": [9, -100]}


class Rows(list):
    def __getitem__(self, index):
        row = super().__getitem__(index)
        if isinstance(row, Exception):
            raise row
        return row


def test_what_cannot_be_trained_on_is_left_out_and_counted_by_reason(caplog):
    rows = Rows([GOOD, MASKED, BLANK, UnusableExample("torn"), GOOD, FIRST_ONLY, MASKED])
    assert usable_examples("dataset.a", rows, TOKENIZER) == [0, 4]
    (line,) = caplog.messages
    assert line == (
        "dataset.a: 5 of 7 left out (no response token, all masked or cut off by "
        "tokenizer.max_seq_len: 3, a blank answer: 1, torn: 1)"
    )


def test_nothing_is_said_of_a_dataset_without_fault(caplog):
    assert usable_examples("dataset.a", [GOOD] * 3, TOKENIZER) == [0, 1, 2]
    assert not caplog.messages


def test_a_tokenizer_without_stop_tokens_knows_no_blank_answer():
    assert usable_examples("dataset.a", [BLANK], object()) == [0]


def test_a_dataset_of_nothing_usable_is_refused():
    with pytest.raises(UserError, match=r"^dataset.a: none of its 2 .* \(a blank answer: 2\)$"):
        usable_examples("dataset.a", [BLANK, BLANK], TOKENIZER)


def _on_a_rank(rank, world_size):
    usable = usable_examples("dataset.a", Rows([GOOD, MASKED, GOOD, GOOD, BLANK]), TOKENIZER)
    # Only rank 1 reads number 3.
    torn = Rows([GOOD, GOOD, GOOD, OSError("gone"), GOOD])
    try:
        usable_examples("dataset.a", torn, TOKENIZER)
    except UserError as error:
        return usable, str(error)


def test_ranks_share_the_reading_and_say_the_same(tmp_path):
    answers = on_ranks(2, _on_a_rank, tmp_path)
    expected = ([0, 2, 3], "dataset.a: example 3 cannot be read: OSError: gone")
    assert answers == [expected, expected]


def test_a_row_is_shown_where_it_is_known_and_cut_off():
    class Torn:
        _data = [{"text": "x" * 1000}]

    message = cannot_be_read("dataset.a", Torn(), 0, KeyError("input"))
    start = "dataset.a: example 0 cannot be read: KeyError: 'input'; its row is {'text': 'xxx"
    assert message.startswith(start) and message.endswith("x…") and len(message) < 300
