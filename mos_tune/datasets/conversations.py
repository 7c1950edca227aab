# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Rows of any format as conversations, in which no text stands for another."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from mos_tune.datasets.formats import TURN_KEYS, Layout
from mos_tune.datasets.rows import text_in, unexpected, value_of
from mos_tune.datasets.sharegpt import ROLES as SHAREGPT_ROLES
from mos_tune.errors import BadRow, UnusableExample
from mos_tune.tokenizers import ChatMessage

# "function" is the name that "tool" had in OpenAI's first format of calls.
ROLES = SHAREGPT_ROLES | {
    "developer": "developer",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_TEXT_PARTS = ("text", "input_text", "output_text", None)
_CALL_KEYS = ("name", "tool_call_id")


class Conversation(NamedTuple):
    """What a row says.

    Attributes:
        messages (list[ChatMessage]): the turns; only what is trained on is not masked.
        tools (list[Any] | None): descriptions of the functions that may be called.
    """

    messages: list[ChatMessage]
    tools: list[Any] | None


def to_conversation(
    row: Mapping[str, Any], layout: Layout, system_prompt: str | None = None
) -> Conversation:
    """Turn a row into a conversation.

    Turns stay as they are: consecutive ones of a role are not merged, since what would stand
    between their texts is not in the file; the chat template writes them, or refuses.

    Args:
        row (Mapping[str, Any]): the row.
        layout (Layout): its format.
        system_prompt (str | None): what comes first if the row has no system turn. Default None:
            nothing.

    Returns:
        Conversation: only turns of the assistant are trained on, without those of weight 0.

    Raises:
        UnusableExample: if there is no answer, or what is no text in the place of one.
        BadRow: naming the column that holds something else than it should.
    """
    columns, tools = layout.columns, None
    if layout.format in TURN_KEYS:
        column = columns.get("conversations") or columns["messages"]
        turns = value_of(row, column)
        if turns is None:
            raise UnusableExample("no turns")
        if not isinstance(turns, list):
            raise unexpected(column, turns, "a list of turns")
        messages = [
            _message(turn, f"turn {number} of {column}", *TURN_KEYS[layout.format])
            for number, turn in enumerate(turns, 1)
        ]
        tools = _tools(row, columns.get("tools"))
    else:
        messages = _question_and_answer(row, columns)
    _check_complete(messages)
    system = _optional_text(row, columns.get("system"))
    if system is None and messages[0].role not in ("system", "developer"):
        system = system_prompt
    if system is not None:
        messages.insert(0, ChatMessage("system", system, masked=True))
    return Conversation(messages, tools)


def _question_and_answer(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[ChatMessage]:
    question = _text(row, columns.get("question") or columns["instruction"], "prompt")
    more = _optional_text(row, columns.get("input"))
    if more:
        question = f"{question}\n\n{more}"
    answer = _text(row, columns.get("answer") or columns["output"], "answer")
    return [
        ChatMessage("user", question, masked=True),
        ChatMessage("assistant", answer, masked=False),
    ]


def _message(turn: Any, place: str, role_key: str, text_key: str) -> ChatMessage:
    if not isinstance(turn, Mapping):
        raise unexpected(place, turn, f"{role_key} and {text_key}")
    name = turn.get(role_key)
    if not isinstance(name, str):
        raise unexpected(f"{role_key} of {place}", name, "a role")
    if name not in ROLES:
        raise UnusableExample(f"unknown role {name!r}")
    role = ROLES[name]
    more = {key: turn[key] for key in _CALL_KEYS if turn.get(key) is not None}
    calls = _tool_calls(turn, place)
    if calls:
        if role != "assistant":
            message = f"{place} has tool_calls and the role {name}, expected an assistant's"
            raise BadRow(message, "tool_calls of another role than the assistant's")
        more["tool_calls"] = calls
    text = _content(turn.get(text_key), f"{text_key} of {place}")
    if text is None and not calls:
        raise UnusableExample(f"no {text_key} in a turn of the role {role}")
    weight = turn.get("weight")
    # True == 1, and text or a share of the loss would be passed over.
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        raise unexpected(f"weight of {place}", weight, "0 or 1")
    return ChatMessage(role, text or "", masked=role != "assistant" or weight == 0, more=more)


def _content(content: Any, place: str) -> str | None:
    """Give the text of a turn; None if there is none."""
    if content is None or isinstance(content, str):
        return None if content is None else text_in(content, place)
    if not isinstance(content, list):
        raise unexpected(place, content, "text or a list of parts")
    texts = []
    for part in content:
        if not isinstance(part, Mapping):
            raise unexpected(f"a part of {place}", part, "type and text")
        part_type, text = part.get("type"), part.get("text")
        if part_type not in _TEXT_PARTS or text is None:
            raise UnusableExample(f"a content part without text ({part_type})")
        texts.append(text_in(text, f"a part's text in {place}"))
    return "".join(texts) if texts else None


def _tool_calls(turn: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    calls = turn.get("tool_calls")
    if calls is None:
        old = turn.get("function_call")
        calls = [] if old is None else [{"type": "function", "function": old}]
    if not isinstance(calls, list):
        raise unexpected(f"tool_calls of {place}", calls, "a list")
    found = []
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise unexpected(f"a tool call of {place}", call, "a named function")
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            # OpenAI has them as text, chat templates expect the object.
            try:
                arguments = json.loads(arguments)
            except ValueError as error:
                raise UnusableExample("a tool call whose arguments are no JSON") from error
        if not isinstance(arguments, Mapping):
            raise UnusableExample("a tool call whose arguments are no object")
        found.append({**call, "function": {"name": function["name"], "arguments": arguments}})
    return found


def _tools(row: Mapping[str, Any], column: str | None) -> list[Any] | None:
    tools = row.get(column) if column is not None else None
    if isinstance(tools, str):
        # Tables with declared types have them as JSON, since no two functions are alike.
        try:
            tools = json.loads(tools) if tools.strip() else None
        except ValueError as error:
            raise unexpected(str(column), tools, "a list of tools") from error
    if tools is not None and not isinstance(tools, list):
        raise unexpected(str(column), tools, "a list of tools")
    return tools or None


def _check_complete(messages: list[ChatMessage]) -> None:
    for message in messages:
        blank = not message.text_content.strip()
        if blank and message.role == "user":
            raise UnusableExample("a blank prompt")
        if blank and not message.masked and "tool_calls" not in message.more:
            raise UnusableExample("a blank answer")
    answers = [message for message in messages if message.role == "assistant"]
    if not answers:
        raise UnusableExample("no answer")
    if all(answer.masked for answer in answers):
        raise UnusableExample("no answer whose weight is not 0")


def _text(row: Mapping[str, Any], column: str, what: str) -> str:
    value = value_of(row, column)
    if value is None:
        raise UnusableExample(f"the {what} is null")
    return text_in(value, column)


def _optional_text(row: Mapping[str, Any], column: str | None) -> str | None:
    value = row.get(column) if column is not None else None
    text = None if value is None else text_in(value, str(column))
    return text if text and text.strip() else None
