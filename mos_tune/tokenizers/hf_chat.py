# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A torchtune tokenizer for any Hugging Face ``tokenizer.json`` with a chat template."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torchtune.data import Message
from torchtune.modules.transforms import Transform
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.errors import UserError, check_whole
from mos_tune.tokenizers.chat_message import ChatMessage
from mos_tune.tokenizers.chat_template import ChatTemplate, ConversationRefused
from mos_tune.tokenizers.hf_files import read_json, special_token_names, stop_tokens


class HFChatTokenizer(ModelTokenizer, Transform):
    """Turn a conversation into the tokens of ``apply_chat_template``, with torchtune's loss mask.

    The mask comes from rendering growing prefixes of the conversation: what the template adds
    for an assistant's message, after the header that asks for it, is that message's answer. The
    answer and its end-of-turn token are trained on; headers, other roles and the line break that
    a template writes after the end-of-turn token are not.

    Args:
        tokenizer_dir (str): directory with ``tokenizer.json`` and ``tokenizer_config.json``; a chat
            template in either the latter or ``chat_template.jinja``. ``generation_config.json``
            is read for further stop tokens if it is there.
        max_seq_len (int | None): longer conversations lose their end. No end token is put in its
            place: it would teach the model to stop in the middle of a sentence. Default: no limit.

    Raises:
        UserError: if a file is missing or there is no chat template, no end token, or a
            ``max_seq_len`` below 1.

    Example:
        >>> tokenizer = HFChatTokenizer("data/smollm2/model", max_seq_len=512)
        >>> messages = [
        ...     Message(role="user", content="What is 7 + 5?", masked=True),
        ...     Message(role="assistant", content="12"),
        ... ]
        >>> tokens, mask = tokenizer.tokenize_messages(messages)
        >>> trained = [t for t, masked in zip(tokens, mask, strict=True) if not masked]
        >>> tokenizer.decode(trained, skip_special_tokens=False)
        '12<|im_end|>'
    """

    def __init__(self, tokenizer_dir: str, max_seq_len: int | None = None) -> None:
        if max_seq_len is not None:
            check_whole("tokenizer.max_seq_len", max_seq_len)
        directory = Path(tokenizer_dir)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if not (directory / name).is_file():
                raise UserError(f"tokenizer.tokenizer_dir is {tokenizer_dir}, where no {name} is")
        self.max_seq_len = max_seq_len
        file = directory / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise UserError(f"tokenizer.tokenizer_dir: {file} is damaged: {error}") from error
        # A tokenizer.json may carry the settings of the run that saved it.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_tokens = {t.content: i for i, t in sorted(added.items()) if t.special}

        config = read_json(directory / "tokenizer_config.json")
        names = special_token_names(config)
        self.bos_token = names.get("bos_token")
        self.bos_id = self._token_to_id(self.bos_token)
        eos_id = self._token_to_id(names.get("eos_token"))
        if eos_id is None:
            raise UserError(
                f"tokenizer.tokenizer_dir: {directory / 'tokenizer_config.json'} has the "
                f"eos_token {names.get('eos_token')!r}; expected a token of tokenizer.json"
            )
        self.eos_id: int = eos_id
        pad_id = self._token_to_id(names.get("pad_token"))
        self.pad_id: int = eos_id if pad_id is None else pad_id
        self.stop_tokens = stop_tokens(directory, eos_id)
        self._template = ChatTemplate.from_directory(directory, config, names)

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included; a model's embedding may be padded above it."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @property
    def adds_bos(self) -> bool:
        """Whether ``tokenizer.json`` puts the beginning-of-sequence token before every text."""
        first = self._tokenizer.encode("", add_special_tokens=True).ids[:1]
        return self.bos_id is not None and first == [self.bos_id]

    def render(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = False
    ) -> str:
        """Write a conversation with the chat template, as text.

        Args:
            messages (Sequence[Mapping[str, str]]): mappings with ``role`` and ``content``.
            add_generation_prompt (bool): whether the header of an assistant's turn follows.

        Raises:
            UserError: if the template refuses the conversation.
        """
        return self._template.render(messages, add_generation_prompt=add_generation_prompt)

    def encode(self, text: str, add_bos: bool = True, add_eos: bool = True) -> list[int]:
        """Give the token ids of a text, in which special tokens may be spelled out.

        Args:
            text (str): the text.
            add_bos (bool): whether the beginning-of-sequence token goes first, if there is one.
            add_eos (bool): whether the end-of-sequence token goes last.
        """
        bos = [self.bos_id] if add_bos and self.bos_id is not None else []
        eos = [self.eos_id] if add_eos else []
        return bos + self._tokenizer.encode(text, add_special_tokens=False).ids + eos

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Give the text of token ids, by default without special tokens."""
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=skip_special_tokens))

    def tokenize_messages(
        self,
        messages: list[Message],
        *,
        tools: Sequence[Any] | None = None,
        add_end_tokens: bool = True,
    ) -> tuple[list[int], list[bool]]:
        """Tokenize a conversation.

        An assistant's message with ``masked=False`` is trained on: its answer and end-of-turn
        token. So is another role's message with ``masked=False`` (``train_on_input``): all
        that the template writes for it, header included. Nothing else is.

        Args:
            messages (list[Message]): the conversation, text only; :class:`ChatMessage` where tools
                are called.
            tools (Sequence[Any] | None): descriptions of the functions that may be called. Default:
                none.
            add_end_tokens (bool): False leaves the conversation open for the assistant to go on:
                its header is added, and an empty last message of the assistant is dropped.

        Returns:
            Token ids and mask, both of length ``s``; the mask is True where there is no loss.

        Raises:
            UserError: if a message holds something other than text.
            ConversationRefused: if the template does, or does not write the beginning of a
                conversation the same way whatever follows.
        """
        turns = [_to_turn(message) for message in messages]
        if not add_end_tokens and turns[-1:] == [{"role": "assistant", "content": ""}]:
            messages, turns = messages[:-1], turns[:-1]
        text = self._template.render(turns, tools=tools, add_generation_prompt=not add_end_tokens)
        spans = [self._span(text, turns, tools, i) for i, m in enumerate(messages) if not m.masked]
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        # A token over the border belongs to the answer, whose first characters it carries.
        mask = [
            not any(start < last and end > first for first, last in spans)
            for start, end in encoding.offsets
        ]
        return encoding.ids[: self.max_seq_len], mask[: self.max_seq_len]

    def __call__(self, sample: Mapping[str, Any], inference: bool = False) -> Mapping[str, Any]:
        """Replace ``messages`` by ``tokens`` and ``mask``, as every torchtune tokenizer does.

        Args:
            sample (Mapping[str, Any]): holds ``messages``, a list of
                :class:`~torchtune.data.Message`; it may hold ``tools``.
            inference (bool): whether the assistant is to go on from here.
        """
        sample = dict(sample)
        messages, tools = sample.pop("messages"), sample.pop("tools", None)
        tokens, mask = self.tokenize_messages(messages, tools=tools, add_end_tokens=not inference)
        return {**sample, "tokens": tokens, "mask": mask}

    def check_written(self, messages: list[Message], tools: Sequence[Any] | None = None) -> None:
        """Check that the template writes every text that it is given.

        Templates pass over roles that they do not know, or what is said beside a tool call, without
        a word. So the conversation is written once with a mark in place of each text.

        Args:
            messages (list[Message]): the conversation.
            tools (Sequence[Any] | None): descriptions of the functions that may be called. Default:
                none.

        Raises:
            ConversationRefused: if the template does not, or refuses the conversation.
        """
        marks: dict[str, str] = {}

        def mark(what: str) -> str:
            text = f"mark{len(marks)}end"
            marks[text] = what
            return text

        turns = []
        for turn in map(_to_turn, messages):
            role = turn["role"]
            if turn["content"].strip():
                turn["content"] = mark(f"a turn of the role {role}")
            if "tool_calls" in turn:
                calls = [{**call, "function": {}} for call in turn["tool_calls"]]
                for call in calls:
                    arguments = {"text": mark("a tool call's arguments")}
                    call["function"] = {"name": mark("a tool call"), "arguments": arguments}
                turn["tool_calls"] = calls
            turns.append(turn)
        text = self._template.render(turns, tools=tools)
        reasons = [what for found, what in marks.items() if found not in text]
        if tools and text == self._template.render(turns):
            reasons.append("the tools that may be called")
        if reasons:
            reason = f"the chat template leaves out {reasons[0]}"
            raise ConversationRefused(f"tokenizer.tokenizer_dir: {reason}", reason)

    def _span(
        self, text: str, turns: list[dict[str, Any]], tools: Sequence[Any] | None, index: int
    ) -> tuple[int, int]:
        """Find the characters ``[first, last)`` of ``text`` that one message is trained on."""
        answers = turns[index]["role"] == "assistant"
        before = ""
        if index > 0 or answers:
            before = self._template.render(
                turns[:index], tools=tools, add_generation_prompt=answers
            )
        after = self._template.render(turns[: index + 1], tools=tools)
        if not (after.startswith(before) and text.startswith(after)):
            raise ConversationRefused(
                "tokenizer.tokenizer_dir: the chat template writes the beginning of a "
                f"conversation in another way once message {index + 1} "
                f"({turns[index]['role']}) or a later one follows, so its tokens cannot be told "
                "from the rest; expected a template that only appends",
                "the chat template writes a turn in another way once others follow",
            )
        if answers:
            end = after.rstrip()
            if end.endswith(tuple(self.special_tokens)):
                after = end
        return len(before), len(after)

    def _token_to_id(self, token: str | None) -> int | None:
        return None if token is None else self._tokenizer.token_to_id(token)


def _to_turn(message: Message) -> dict[str, Any]:
    for item in message.content:
        if item["type"] != "text":
            raise UserError(
                f"a message of the role {message.role} holds {item['type']} content; expected text"
            )
    role = "tool" if message.role == "ipython" else message.role
    more = message.more if isinstance(message, ChatMessage) else {}
    return {"role": role, "content": message.text_content, **more}
