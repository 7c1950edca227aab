# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json

import pytest
from torchtune.datasets import chat_dataset

from mos_tune.datasets.sharegpt import (
    conversation_to_messages,
    sharegpt_dataset,
)
from mos_tune.errors import UnusableExample, UserError
from mos_tune.tokenizers import CharTokenizer


def turns(*pairs):
    return [{"from": role, "value": text} for role, text in pairs]


WHOLE = turns(("human", "hi"), ("gpt", "hello"), ("human", "bye"), ("gpt", "see you"))
CONTINUED = turns(("gpt", "end of an answer"), ("human", "more"), ("gpt", "there"))
EMPTY = turns()
TWO_QUESTIONS = turns(("human", "a"), ("human", "b"), ("gpt", "c"))


def as_pairs(conversation):
    return [(m.role, m.text_content, m.masked) for m in conversation_to_messages(conversation)]


@pytest.mark.parametrize(
    ("conversation", "expected"),
    [
        (
            WHOLE,
            [
                ("user", "hi", True),
                ("assistant", "hello", False),
                ("user", "bye", True),
                ("assistant", "see you", False),
            ],
        ),
        (CONTINUED, [("user", "more", True), ("assistant", "there", False)]),
        (
            turns(("system", "be kind"), ("user", "hi"), ("chatgpt", "hello"), ("human", "and?")),
            [("system", "be kind", True), ("user", "hi", True), ("assistant", "hello", False)],
        ),
        (
            turns(("human", "a"), ("bing", "b"), ("human", "c"), ("bard", "d")),
            [
                ("user", "a", True),
                ("assistant", "b", False),
                ("user", "c", True),
                ("assistant", "d", False),
            ],
        ),
    ],
)
def test_conversations(conversation, expected):
    assert as_pairs(conversation) == expected


@pytest.mark.parametrize("user", ["human", "user"])
@pytest.mark.parametrize("assistant", ["gpt", "chatgpt", "bing", "bard", "assistant"])
def test_whoever_asks_and_answers(user, assistant):
    found = as_pairs(turns((user, "a"), (assistant, "b")))
    assert found == [("user", "a", True), ("assistant", "b", False)]


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        (EMPTY, "no question with an answer"),
        (turns(("gpt", "only an answer")), "no question with an answer"),
        (turns(("human", "only a question")), "no question with an answer"),
        (turns(("system", "be kind")), "no question with an answer"),
        (TWO_QUESTIONS, "do not alternate"),
        (turns(("human", "a"), ("system", "b"), ("gpt", "c")), "do not alternate"),
        (turns(("human", "a"), ("gpt", " \n")), "a blank turn"),
        (turns(("human", "a"), ("tool", "b"), ("gpt", "c")), "unknown role 'tool'"),
        (None, "no question with an answer"),
        (turns(("human", "a"), ("gpt", None)), "a turn without from or value"),
        ([{"value": "a"}, {"from": "gpt", "value": "b"}], "a turn without from or value"),
    ],
)
def test_broken_conversations(conversation, reason):
    with pytest.raises(UnusableExample, match=reason):
        conversation_to_messages(conversation)


def write(tmp_path, conversations):
    file = tmp_path / "sharegpt.json"
    rows = [{"id": str(i), "conversations": c} for i, c in enumerate(conversations)]
    file.write_text(json.dumps(rows))
    return {"source": "json", "data_files": str(file), "cache_dir": str(tmp_path)}


@pytest.mark.parametrize(
    ("conversation", "reason"),
    [
        ("hello", "conversations is 'hello', expected a list of turns"),
        (["hello"], "a turn is 'hello', expected from and value"),
        (turns(("human", 1), ("gpt", "b")), "the value of a turn is 1, expected text"),
    ],
)
def test_what_is_no_conversation_is_an_error(conversation, reason):
    with pytest.raises(UserError, match=reason):
        conversation_to_messages(conversation)


def test_answers_are_trained_on_and_unusable_rows_say_so(tmp_path):
    source = write(tmp_path, [EMPTY, WHOLE, TWO_QUESTIONS, CONTINUED])
    tokenizer = CharTokenizer()
    dataset = sharegpt_dataset(tokenizer, **source)
    assert len(dataset) == 4
    assert "end of an answer" not in tokenizer.decode(dataset[3]["tokens"])
    trained = [label for label in dataset[1]["labels"] if label != -100]
    assert tokenizer.decode(trained, truncate_at_eos=False) == "hellosee you"
    for unusable in (0, 2):
        with pytest.raises(UnusableExample):
            dataset[unusable]


def test_torchtune_s_own_builder_stops_at_a_continued_conversation(tmp_path):
    source = write(tmp_path, [CONTINUED])
    dataset = chat_dataset(
        CharTokenizer(),
        conversation_column="conversations",
        conversation_style="sharegpt",
        **source,
    )
    with pytest.raises(ValueError, match="Assistant message before expected user message"):
        dataset[0]


def test_a_part_is_drawn_by_the_seed(tmp_path):
    source = write(tmp_path, [WHOLE, CONTINUED] * 20)
    drawn = [
        sharegpt_dataset(CharTokenizer(), **source, fraction=0.25, seed=seed).indices
        for seed in (0, 0, 1)
    ]
    assert len(drawn[0]) == 10
    assert drawn[0] == drawn[1] != drawn[2]
