# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from itertools import count

import pytest
from helpers.ranks import on_ranks
from torch.utils.data import Subset

from mos_tune.data.examples import cannot_be_read
from mos_tune.data.limits import ModelLimits
from mos_tune.data.scan import scan_examples
from mos_tune.datasets.rows import RowsDataset, prompt_and_response
from mos_tune.errors import BadRow, UnusableExample, UserError
from mos_tune.tokenizers import CharTokenizer

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
    assert scan_examples("dataset.a", rows, TOKENIZER).usable == [0, 4]
    (line,) = caplog.messages
    assert line == (
        "dataset.a: 2 examples, 5 of 7 left out (no response token, all masked or cut off by "
        "tokenizer.max_seq_len: 3, a blank answer: 1, torn: 1)"
    )


def test_tokens_and_response_tokens_are_counted():
    rows = [
        {"tokens": [1, 2, 3, 4], "labels": [-100, -100, 8, 9]},
        MASKED,
        {"tokens": [1, 2], "labels": [7, 7]},  # the first label is never predicted
    ]
    scan = scan_examples("dataset.a", rows, TOKENIZER)
    assert (scan.usable, scan.lengths, scan.responses) == ([0, 2], [4, 2], [2, 1])


def test_a_part_says_of_how_many_it_was_drawn_and_shows_its_rows(caplog):
    part = Subset(RowsDataset([3, 4, 5, 6], lambda row: [row], None), [1, 3])
    with pytest.raises(UserError, match=r"^dataset.a: example 0 cannot .*; its row is 4; 2 of 2 e"):
        scan_examples("dataset.a", part, TOKENIZER)
    scan_examples("dataset.a", Subset([GOOD, BLANK, GOOD, GOOD], [0, 1, 3]), TOKENIZER)
    (line,) = caplog.messages
    assert line == "dataset.a: 2 examples, 3 of 4 drawn, 1 of 3 left out (a blank answer: 1)"


def test_a_dataset_without_fault_is_counted(caplog):
    assert scan_examples("dataset.a", [GOOD] * 3, TOKENIZER).usable == [0, 1, 2]
    assert caplog.messages == ["dataset.a: 3 examples"]


def test_a_tokenizer_without_stop_tokens_knows_no_blank_answer():
    assert scan_examples("dataset.a", [BLANK], object())[0] == [0]


def test_a_dataset_of_nothing_usable_is_refused():
    with pytest.raises(UserError, match=r"^dataset.a: none of its 2 .* \(a blank answer: 2\)$"):
        scan_examples("dataset.a", [BLANK, BLANK], TOKENIZER)


SOME = Rows([GOOD, MASKED, GOOD, UnusableExample("torn"), BLANK])


def _on_a_rank(rank, world_size):
    read = scan_examples("dataset.a", SOME, TOKENIZER)
    # Only rank 1 reads number 3.
    torn = Rows([GOOD, GOOD, GOOD, OSError("gone"), GOOD])
    try:
        scan_examples("dataset.a", torn, TOKENIZER)
    except UserError as error:
        # The answer is loaded with weights_only.
        return read.usable, read.lengths, read.fingerprint, read.hashes.tolist(), str(error)


def test_ranks_share_the_reading_and_say_the_same(tmp_path):
    answers = on_ranks(2, _on_a_rank, tmp_path)
    alone = scan_examples("dataset.a", SOME, TOKENIZER)
    assert alone.usable == [0, 2] and alone.lengths == [len(SOME[i]["tokens"]) for i in (0, 2)]
    assert alone.fingerprint is not None
    assert alone.hashes[0] == alone.hashes[1]
    expected = (
        *alone[:3],
        alone.hashes.tolist(),
        "dataset.a: example 3 cannot be read: OSError: gone",
    )
    assert answers == [expected, expected]


def fingerprint(rows):
    return scan_examples("dataset.a", Rows(rows), TOKENIZER).fingerprint


def test_other_examples_have_another_fingerprint():
    rows = [{"tokens": [1, k, 2], "labels": [-100, k, 2]} for k in range(5, 300)]
    first = fingerprint(rows)
    assert fingerprint(rows) == first
    changed = rows[7] | {"tokens": [1, 999, 2]}
    unmasked = rows[7] | {"labels": [1, 12, 2]}
    for others in (
        [*rows[:7], changed, *rows[8:]],
        [*rows[:7], unmasked, *rows[8:]],
        [rows[1], rows[0], *rows[2:]],
        rows[:-1],
        [*rows[:7], UnusableExample("torn"), *rows[8:]],
    ):
        assert fingerprint(others) != first


def test_a_dataset_that_is_never_the_same_twice_is_reported_and_not_refused(caplog):
    class Random(list):
        calls = count(3)

        def __getitem__(self, index):
            return {"tokens": [1, next(self.calls)], "labels": [-100, 9]}

    read = scan_examples("dataset.a", Random([0] * 4), TOKENIZER)
    assert read.usable == [0, 1, 2, 3] and read.fingerprint is None
    assert "dataset.a gives another example each time one is read" in caplog.text


def test_a_row_is_shown_where_it_is_known_and_cut_off():
    class Torn:
        _data = [{"text": "x" * 1000}]

    message = cannot_be_read("dataset.a", Torn(), 0, KeyError("input"))
    start = "dataset.a: example 0 cannot be read: KeyError: 'input'; its row is {'text': 'xxx"
    assert message.startswith(start) and message.endswith("x…") and len(message) < 300


class Talks:
    """Tokenises when asked, so that a tokenizer without a limit shows what was cut off."""

    def __init__(self, tokenizer, answers):
        self._tokenizer, self._answers = tokenizer, answers

    def __len__(self):
        return len(self._answers)

    def __getitem__(self, index):
        messages = prompt_and_response("q", self._answers[index])
        example = self._tokenizer({"messages": messages})
        labels = [-100 if m else t for t, m in zip(example["tokens"], example["mask"], strict=True)]
        return {"tokens": example["tokens"], "labels": labels}


def test_examples_that_are_cut_off_are_counted_and_those_that_just_fit_are_not(caplog):
    tokenizer = CharTokenizer(max_seq_len=10)
    whole = len(Talks(CharTokenizer(), ["abcde"])[0]["tokens"])
    assert whole == 10
    read = scan_examples("dataset.a", Talks(tokenizer, ["abcd", "abcde", "abcdef"] * 2), tokenizer)
    assert caplog.messages == ["dataset.a: 6 examples, 2 cut off at tokenizer.max_seq_len 10"]
    assert read.lengths == [9, 10, 10] * 2 and tokenizer.max_seq_len == 10


@pytest.mark.parametrize(("trained", "said"), [(20, True), (19, False)])
def test_a_dataset_whose_prompts_are_trained_on_is_said(caplog, trained, said):
    # The first label is never predicted.
    row = {"tokens": [1] * 21, "labels": [1] + [-100] * (20 - trained) + [7] * trained}
    scan_examples("dataset.a", [row] * 3, TOKENIZER)
    expected = "dataset.a: 100.0% of its tokens are trained on; if prompts are among them, train_on"
    assert (expected in caplog.text) is said


LIMITS = ModelLimits(max_seq_len=3, vocab_size=10)


def test_what_the_model_cannot_take_stops_the_run_or_is_left_out(caplog):
    long = {"tokens": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}
    high = {"tokens": [1, 2, 10], "labels": [1, 2, 3]}
    fine = {"tokens": [1, 2, 9], "labels": [-100, -100, 9]}
    for row, said in (
        (long, "has 4 tokens, more than the model's max_seq_len 3; tokenizer.max_seq_len cuts"),
        (high, "has the token 10, outside the model's embedding, which has 10 tokens"),
    ):
        with pytest.raises(BadRow, match=f"^dataset.a: example 1 {said}.*; 2 of 3 examples are b"):
            scan_examples("dataset.a", [fine, row, row], TOKENIZER, limits=LIMITS)
    read = scan_examples(
        "dataset.a", [fine, long, high, high], TOKENIZER, limits=LIMITS, skip_bad_rows=True
    )
    assert read.usable == [0]
    assert caplog.messages[-1] == (
        "dataset.a: 1 examples, 3 of 4 left out (a token outside the model's embedding: 2, longer "
        "than the model's max_seq_len: 1)"
    )


def test_bad_rows_can_be_left_out_but_not_what_a_disk_refuses(caplog):
    rows = Rows([GOOD, KeyError("input"), ValueError("turn 3 of 4"), ValueError("turn 5 of 7")])
    rows += [BadRow("line 7: output is 3", "a number"), {"labels": [1]}, GOOD]
    assert scan_examples("dataset.a", rows, TOKENIZER, skip_bad_rows=True).usable == [0, 6]
    assert caplog.messages[-1] == (
        "dataset.a: 2 examples, 5 of 7 left out (ValueError: turn N of N: 2, KeyError: 'input': 1, "
        "a number: 1, KeyError: 'tokens': 1)"
    )
    rows.append(OSError("gone"))
    with pytest.raises(UserError, match="^dataset.a: example 7 cannot be read: OSError: gone$"):
        scan_examples("dataset.a", rows, TOKENIZER, skip_bad_rows=True)


def test_many_reasons_are_cut_short(caplog):
    rows = Rows([GOOD, *(KeyError(chr(97 + i)) for i in range(20))])
    scan_examples("dataset.a", rows, TOKENIZER, skip_bad_rows=True)
    assert caplog.messages[-1].endswith("KeyError: 'h': 1, other reasons: 12)")
