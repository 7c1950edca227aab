# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import numpy as np
import pytest
from helpers.hf_tokenizers import write_qwen2
from torchtune.data import Message
from torchtune.models.qwen2 import qwen2_tokenizer as torchtunes_qwen2_tokenizer

from mos_tune.tokenizers import qwen2_tokenizer


def labels_of(tokenizer, answer):
    turns = [
        Message(role="user", content="what?", masked=True),
        Message(role="assistant", content=answer),
    ]
    example = tokenizer({"messages": turns * 2})
    return np.where(example["mask"], -100, example["tokens"]).tolist()


@pytest.mark.parametrize("answer", ["a", "a long answer", ""])
def test_the_end_token_is_trained_on_with_and_without_a_length(tmp_path, answer):
    files = write_qwen2(tmp_path)
    whole = qwen2_tokenizer(*files)
    expected = labels_of(whole, answer)
    assert expected[-1] == whole.eos_id
    assert labels_of(torchtunes_qwen2_tokenizer(*files), answer) == expected
    for length in (len(expected), len(expected) + 1, 2048):
        assert labels_of(qwen2_tokenizer(*files, max_seq_len=length), answer) == expected
        stock = labels_of(torchtunes_qwen2_tokenizer(*files, max_seq_len=length), answer)
        assert stock == [*expected[:-1], -100]


def test_what_is_cut_off_is_written_as_torchtune_does(tmp_path):
    files = write_qwen2(tmp_path)
    for length in range(5, 40):
        cut = labels_of(qwen2_tokenizer(*files, max_seq_len=length), "a long answer")
        assert cut == labels_of(
            torchtunes_qwen2_tokenizer(*files, max_seq_len=length), "a long answer"
        )
        assert cut[-1] == -100


def test_options_are_those_of_torchtunes_tokenizer(tmp_path):
    files = write_qwen2(tmp_path)
    special = tmp_path / "tokenizer.json"
    special.write_text(
        '{"added_tokens": [{"content": "<|endoftext|>", "id": 300}, {"content": "<|im_start|>", '
        '"id": 301}, {"content": "<|im_end|>", "id": 302}]}'
    )
    template = {"user": ("Q: ", ""), "assistant": ("A: ", "")}
    options = {"special_tokens_path": str(special), "prompt_template": template, "max_seq_len": 99}
    tokenizer = qwen2_tokenizer(*files, **options)
    labels = labels_of(tokenizer, "a")
    assert labels[-1] == 302
    assert labels[:-1] == labels_of(torchtunes_qwen2_tokenizer(*files, **options), "a")[:-1]
