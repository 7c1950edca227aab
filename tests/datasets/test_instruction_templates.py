# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a chat template can express is trained on as it writes it; the rest is left out."""

import json

import pytest
from helpers.hf_tokenizers import CHATML, write_tokenizer
from transformers import AutoTokenizer

from mos_tune.datasets import instruction_dataset
from mos_tune.errors import UnusableExample, UserError
from mos_tune.tokenizers import HFChatTokenizer

# Any role, calls and tools, as models that call functions have it.
TOOLS = """{% if tools %}<s>{{ tools | tojson }}</s>{% endif %}
{% for m in messages %}
{{ '<|im_start|>' + m.role + '\n' }}{% if m.content %}{{ m.content }}{% endif %}
{% for call in m.tool_calls or [] %}{% set f = call.function %}
<call>{{ f.name }} {{ f.arguments | tojson }}{% endfor %}
{{ '<|im_end|>' + '\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

# Passes over what it does not know: as many do.
DEAF = """{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{{ m.content }}
{% elif m.role == 'assistant' %}<s>{% if m.tool_calls %}
{% for call in m.tool_calls %}{{ call.function | tojson }}{% endfor %}
{% else %}{{ m.content }}{% endif %}<|im_end|>{% endif %}{% endfor %}
{% if add_generation_prompt %}<s>{% endif %}"""

STRICT = """{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('roles must alternate') }}{% endif %}
<|im_start|>{{ m.content }}<|im_end|>{% endfor %}
{% if add_generation_prompt %}<|im_start|>{% endif %}"""

# Earlier answers are written in another way: as reasoning models have it.
FORGETFUL = """{% for m in messages %}{% if m.role == 'user' or loop.last %}
{{ '<|im_start|>' + m.content + '<|im_end|>' }}{% else %}<s>{{ m.content }}{% endif %}{% endfor %}
{% if add_generation_prompt %}<|im_start|>{% endif %}"""

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 7}'}}
SCHEMA = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
TALK = [
    {"role": "developer", "content": "Be exact."},
    {"role": "user", "content": "7 + 5?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "12", "tool_call_id": "c1"},
    {"role": "assistant", "content": "It is twelve."},
]


@pytest.fixture
def load(tmp_path):
    def load(template, *rows, **options):
        tokenizer = HFChatTokenizer(str(write_tokenizer(tmp_path / "model", template)))
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tokenizer, instruction_dataset(tokenizer, data_files=str(file), **options)

    return load


def trained(tokenizer, example):
    kept = [token for token in example["labels"] if token != -100]
    return tokenizer.decode(kept, skip_special_tokens=False)


def user_and(*turns):
    return {"messages": [{"role": "user", "content": "q"}, *turns]}


def answer(content="a", **more):
    return {"role": "assistant", "content": content, **more}


def test_roles_tools_and_calls_are_written_as_transformers_writes_them(load, tmp_path):
    old = [
        *TALK[:2],
        answer(None, function_call={"name": "add", "arguments": '{"a": 7}'}),
        {"role": "function", "name": "add", "content": "12"},
        TALK[4],
    ]
    rows = [{"messages": TALK, "tools": SCHEMA}, {"messages": TALK}, {"messages": old}]
    tokenizer, dataset = load(TOOLS, *rows)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    arguments = {"function": {"name": "add", "arguments": {"a": 7}}}
    called = [*TALK[:2], answer("", tool_calls=[CALL | arguments]), *TALK[3:]]
    for example, tools in zip(dataset, (SCHEMA, None, None), strict=True):
        assert example["tokens"] == theirs.apply_chat_template(called, tools=tools)
        said = '<call>add {"a": 7}<|im_end|>It is twelve.<|im_end|>'
        assert trained(tokenizer, example) == said


def test_weights_and_turns_of_one_role(load):
    turns = [answer("b", weight=0), {"role": "user", "content": "c"}, answer("d"), answer("e")]
    tokenizer, dataset = load(CHATML, user_and(*turns))
    assert trained(tokenizer, dataset[0]) == "d<|im_end|>e<|im_end|>"
    whole = tokenizer.decode(dataset[0]["tokens"], skip_special_tokens=False)
    for turn in ("assistant\nb", "user\nc", "assistant\nd", "assistant\ne"):
        assert f"<|im_start|>{turn}<|im_end|>\n" in whole


def test_system_prompt_takes_the_place_of_the_template_s_own(load):
    tokenizer, dataset = load(CHATML, {"question": "q", "answer": "a"}, system_prompt="Be kind.")
    whole = tokenizer.decode(dataset[0]["tokens"], skip_special_tokens=False)
    assert whole.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nq<|im_end|>")
    assert trained(tokenizer, dataset[0]) == "a<|im_end|>"


SYSTEM = {"role": "system", "content": "s"}
RESULT = {"role": "tool", "content": "12"}


@pytest.mark.parametrize(
    ("template", "row", "reason"),
    [
        (DEAF, {"messages": [SYSTEM, *user_and(answer())["messages"]]}, "a turn of the role syst"),
        (DEAF, {"messages": TALK}, "the chat template leaves out a turn of the role developer"),
        (
            DEAF,
            user_and(answer("so", tool_calls=[CALL])),
            "leaves out a turn of the role assistant",
        ),
        (DEAF, user_and(answer(None, tool_calls=[CALL]), RESULT, answer()), "a turn of the role t"),
        (DEAF, user_and(answer()) | {"tools": SCHEMA}, "leaves out the tools that may be called"),
        (CHATML, user_and(answer(None, tool_calls=[CALL])), "leaves out a tool call"),
        (STRICT, user_and(answer(), answer()), "refuses it: roles must alternate"),
        (STRICT, user_and({"role": "user", "content": "more"}, answer()), "roles must alternate"),
        (
            FORGETFUL,
            user_and(answer(), {"role": "user", "content": "more"}, answer()),
            "the chat template writes a turn in another way once others follow",
        ),
        (
            TOOLS,
            user_and(answer(None, tool_calls=[{"function": {"name": "f", "arguments": "{"}}])),
            "a tool call whose arguments are no JSON",
        ),
        (
            TOOLS,
            user_and(answer(None, tool_calls=[{"function": {"name": "f", "arguments": "3"}}])),
            "a tool call whose arguments are no object",
        ),
    ],
)
def test_what_a_template_cannot_express_is_left_out(load, template, row, reason):
    tokenizer, dataset = load(template, user_and(answer()), row)
    assert trained(tokenizer, dataset[0]) == "a<|im_end|>"
    with pytest.raises(UnusableExample, match=reason):
        dataset[1]


def test_other_builders_are_still_told_that_the_template_refuses(load):
    tokenizer, _ = load(STRICT, user_and(answer()))
    with pytest.raises(UserError, match="refuses a conversation with the roles"):
        tokenizer.render([{"role": "assistant", "content": "a"}])
