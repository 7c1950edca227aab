# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The Jinja template with which a Hugging Face tokenizer writes a conversation as text."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mos_tune.errors import UserError


class ConversationRefused(UserError):
    """A template cannot write a conversation.

    Attributes:
        reason (str): why, in words that are the same for all conversations alike.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChatTemplate:
    """Write conversations as text exactly as ``apply_chat_template`` does.

    The template comes with a downloaded model, so it runs in Jinja's sandbox. Unlike in
    transformers it gets no clock (``strftime_now``): the tokens of a training example must not
    depend on the day, or a resumed run would train on other tokens than the run it resumes.

    Args:
        source (str): the Jinja source.
        special_tokens (Mapping[str, str]): what the template may refer to, for example
            ``{"bos_token": "<s>"}``.
        path (Path): the file that holds the template; error messages name it.

    Raises:
        UserError: if ``source`` is not a valid template.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], path: Path) -> None:
        self._source = source
        self._special_tokens = dict(special_tokens)
        self._path = path
        try:
            _compile(source)
        except TemplateError as error:
            raise UserError(f"the chat template in {path} cannot be parsed: {error}") from error

    @classmethod
    def from_directory(
        cls, directory: Path, config: Mapping[str, Any], special_tokens: Mapping[str, str]
    ) -> "ChatTemplate":
        """Find the template of a model directory.

        Args:
            directory (Path): the directory, in Hugging Face format.
            config (Mapping[str, Any]): the content of its ``tokenizer_config.json``.
            special_tokens (Mapping[str, str]): see the class.

        Returns:
            The template in ``chat_template.jinja`` or, without such a file, the one under
            ``chat_template`` in the config (of several named ones, ``default``).

        Raises:
            UserError: if there is no template.
        """
        path = directory / "chat_template.jinja"
        if path.is_file():
            return cls(path.read_text(encoding="utf-8"), special_tokens, path)
        path = directory / "tokenizer_config.json"
        source = config.get("chat_template")
        if isinstance(source, list):
            source = {entry["name"]: entry["template"] for entry in source}.get("default")
        if not source:
            raise UserError(
                f"tokenizer.tokenizer_dir: {path} has no chat_template and there is no "
                "chat_template.jinja beside it; expected the tokenizer of an instruction-tuned "
                "model, or a template in one of these two places"
            )
        return cls(source, special_tokens, path)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = False,
    ) -> str:
        """Write a conversation.

        Args:
            messages (Sequence[Mapping[str, Any]]): mappings with ``role`` and ``content``, and what
                else the template knows.
            tools (Sequence[Any] | None): descriptions of the functions that may be called. Default:
                none.
            add_generation_prompt (bool): whether the header of an assistant's turn follows.

        Returns:
            The text, special tokens included.

        Raises:
            ConversationRefused: if the template refuses the conversation.
        """
        try:
            return _compile(self._source).render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                tools=tools,
                documents=None,
                **self._special_tokens,
            )
        except (TemplateError, TypeError) as error:
            roles = [message["role"] for message in messages]
            raise ConversationRefused(
                f"the chat template in {self._path} refuses a conversation with the roles "
                f"{roles}: {error}",
                f"the chat template refuses it: {error}",
            ) from error


class _Generation(Extension):
    """Let ``{% generation %}`` blocks through as they are.

    Some templates mark the assistant's words with them, and Jinja alone does not know the tag.
    """

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Give the block's own statements in place of the block."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


# transformers replaces Jinja's own filter too: that one escapes HTML.
def _to_json(value: Any, ensure_ascii: bool = False, **kwargs: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **kwargs)


# Cached here and not kept on the object, because compiled templates cannot be pickled.
@lru_cache(maxsize=16)
def _compile(source: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment.from_string(source)
