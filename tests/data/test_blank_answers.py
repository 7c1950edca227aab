# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""An answer that says nothing is told by every tokenizer, and what its header is made of."""

import base64

import numpy as np
import pytest
from helpers.hf_tokenizers import CHATML, write_qwen2, write_tokenizer
from torchtune.data import Message
from torchtune.models.llama3 import llama3_tokenizer
from torchtune.models.qwen2 import qwen2_tokenizer as torchtunes_qwen2_tokenizer

from mos_tune.data.blank_answers import BLANK, CUT_OFF, Answers, say_if_end_is_masked
from mos_tune.tokenizers import CharTokenizer, HFChatTokenizer, qwen2_tokenizer


def llama3(path, max_seq_len=None):
    words = [bytes([byte]) for byte in range(256)]
    file = path / "tokenizer.model"
    file.write_bytes(b"\n".join(b"%s %d" % (base64.b64encode(w), i) for i, w in enumerate(words)))
    return llama3_tokenizer(str(file), max_seq_len=max_seq_len)


def qwen2(path, max_seq_len=None):
    return qwen2_tokenizer(*write_qwen2(path), max_seq_len=max_seq_len)


def torchtunes_qwen2(path, max_seq_len=None):
    return torchtunes_qwen2_tokenizer(*write_qwen2(path), max_seq_len=max_seq_len)


def chatml(path, max_seq_len=None):
    return HFChatTokenizer(str(write_tokenizer(path / "hf", CHATML)), max_seq_len)


def chatml_with_another_end(path, max_seq_len=None):
    folder = write_tokenizer(path / "hf", CHATML, eos_token="</s>")
    return HFChatTokenizer(str(folder), max_seq_len)


def characters(path, max_seq_len=None):
    return CharTokenizer(max_seq_len)


TOKENIZERS = [llama3, qwen2, torchtunes_qwen2, chatml, chatml_with_another_end, characters]


def labels_of(tokenizer, *answers, question="what?"):
    messages = []
    for answer in answers:
        messages.append(Message(role="user", content=question, masked=True))
        messages.append(Message(role="assistant", content=answer))
    example = tokenizer({"messages": messages})
    return np.where(example["mask"], -100, example["tokens"])


@pytest.mark.parametrize("max_seq_len", [None, 2048])
@pytest.mark.parametrize("make", TOKENIZERS)
def test_a_blank_answer_is_told_by_every_tokenizer(tmp_path, make, max_seq_len):
    tokenizer = make(tmp_path, max_seq_len)
    answers = Answers(tokenizer)
    for blank in (("",), ("", ""), (" ",), ("\n ", "")):
        assert answers.useless(labels_of(tokenizer, *blank)) == BLANK, blank
    for said in (("a",), ("assistant",), ("", "a"), ("a", ""), (" .",), ("数",)):
        assert answers.useless(labels_of(tokenizer, *said)) is None, said


@pytest.mark.parametrize("make", [llama3, qwen2])
def test_an_answer_of_which_only_the_header_is_left_is_cut_off(tmp_path, make):
    tokenizer = make(tmp_path)
    answers = Answers(tokenizer)
    blank = labels_of(tokenizer, "") != -100
    # Its last trained token is the end, which here comes one token too late.
    tokenizer.max_seq_len = int(np.flatnonzero(blank)[-1])
    cut = labels_of(tokenizer, "abc")
    assert (cut != -100).any() and answers.useless(cut) == CUT_OFF
    tokenizer.max_seq_len += 2
    assert answers.useless(labels_of(tokenizer, "abc")) is None


@pytest.mark.parametrize("max_seq_len", [None, 2048])
@pytest.mark.parametrize("make", TOKENIZERS)
def test_an_end_token_that_is_never_trained_on_is_said(tmp_path, caplog, make, max_seq_len):
    say_if_end_is_masked(make(tmp_path, max_seq_len))
    masked = make is torchtunes_qwen2 and max_seq_len is not None
    said = "tokenizer Qwen2Tokenizer masks the end token 151645 of every answer"
    assert [message.startswith(said) for message in caplog.messages] == [True] * masked
