# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import string

import pytest
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX, Message, padded_collate_sft

from mos_tune.errors import UserError
from mos_tune.tokenizers import CharTokenizer

PRINTABLE = string.printable[:95] + "\n"


def conversation(*turns):
    return [Message(role=role, content=text, masked=role != "assistant") for role, text in turns]


def show(tokens, tokenizer):
    return tokenizer.decode(tokens, truncate_at_eos=False, skip_special_tokens=False)


def test_every_printable_character_survives_the_round_trip():
    tokenizer = CharTokenizer()
    tokens = tokenizer.encode(PRINTABLE)
    assert tokenizer.decode(tokens) == PRINTABLE
    assert len(tokens) == len(PRINTABLE) + 2
    assert (tokens[0], tokens[-1]) == (tokenizer.bos_id, tokenizer.eos_id)


def test_ids_fill_the_vocabulary_without_gap_or_overlap():
    tokenizer = CharTokenizer()
    characters = tokenizer.encode(PRINTABLE, add_bos=False, add_eos=False)
    special = list(tokenizer.special_tokens.values())
    assert sorted(special + characters) == list(range(tokenizer.vocab_size)) == list(range(103))


def test_other_characters_become_unknown():
    tokenizer = CharTokenizer()
    tokens = tokenizer.encode("a\u00e9\tb", add_bos=False, add_eos=False)
    assert tokens.count(tokenizer.unk_id) == 2
    assert tokenizer.decode(tokens) == "ab"
    assert show(tokens, tokenizer) == "a<unk><unk>b"


def test_a_special_token_cannot_be_smuggled_in_as_text():
    tokenizer = CharTokenizer()
    tokens = tokenizer.encode("<eos>", add_bos=False, add_eos=False)
    assert tokenizer.eos_id not in tokens
    assert tokenizer.decode(tokens) == "<eos>"


def test_decoding_ends_at_the_end_token_if_asked_to():
    tokenizer = CharTokenizer()
    tokens = tokenizer.encode("ab") + tokenizer.encode("cd")
    assert tokenizer.decode(tokens) == "ab"
    assert tokenizer.decode(tokens, truncate_at_eos=False) == "abcd"


def test_answers_and_their_end_tokens_are_trained_on_and_nothing_else():
    tokenizer = CharTokenizer()
    tokens, mask = tokenizer.tokenize_messages(
        conversation(
            ("system", "s"),
            ("user", "q1"),
            ("assistant", "a1"),
            ("user", "q2"),
            ("assistant", "a2"),
        )
    )
    text = "<bos><system>s<user>q1<assistant>a1<eos><user>q2<assistant>a2<eos>"
    assert show(tokens, tokenizer) == text
    trained = [token for token, masked in zip(tokens, mask, strict=True) if not masked]
    assert show(trained, tokenizer) == "a1<eos>a2<eos>"


def test_a_masked_answer_is_not_trained_on():
    messages = [
        Message(role="user", content="q", masked=True),
        Message(role="assistant", content="a", masked=True),
    ]
    assert all(CharTokenizer().tokenize_messages(messages)[1])


def test_inference_leaves_the_last_answer_open():
    tokenizer = CharTokenizer()
    messages = conversation(("user", "q"), ("assistant", ""))
    sample = tokenizer({"messages": messages, "id": 7}, inference=True)
    assert show(sample["tokens"], tokenizer) == "<bos><user>q<assistant>"
    assert sample["id"] == 7 and "messages" not in sample
    closed = tokenizer({"messages": messages})
    assert closed["tokens"] == sample["tokens"] + [tokenizer.eos_id]
    assert closed["mask"] == sample["mask"] + [False]


@pytest.mark.parametrize("limit", range(1, 9))
def test_truncation_keeps_the_beginning_and_invents_no_end(limit):
    messages = conversation(("user", "q"), ("assistant", "abc"))
    tokens, mask = CharTokenizer().tokenize_messages(messages)
    assert len(tokens) == 8
    cut = CharTokenizer(max_seq_len=limit).tokenize_messages(messages)
    assert cut == (tokens[:limit], mask[:limit])


def test_padding_is_a_token_of_its_own():
    tokenizer = CharTokenizer()
    samples = []
    for answer in ("a", "abc"):
        tokens, mask = tokenizer.tokenize_messages(
            conversation(("user", "q"), ("assistant", answer))
        )
        labels = [CROSS_ENTROPY_IGNORE_IDX if m else t for t, m in zip(tokens, mask, strict=True)]
        samples.append({"tokens": tokens, "labels": labels})
    batch = padded_collate_sft(samples, padding_idx=tokenizer.pad_id)
    assert show(batch["tokens"][0].tolist(), tokenizer).endswith("a<eos><pad><pad>")


def test_bad_input_is_named():
    with pytest.raises(UserError, match="max_seq_len must be a whole number of at least 1, got 0"):
        CharTokenizer(max_seq_len=0)
    with pytest.raises(UserError, match="system, user and assistant, got .* role 'ipython'"):
        CharTokenizer().tokenize_messages([Message(role="ipython", content="1")])
