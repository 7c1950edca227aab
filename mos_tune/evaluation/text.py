# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Text to tokens and back with any torchtune tokenizer.

As lm-eval's ``--model hf`` does it, or for a conversation through the tokenizer's chat template.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torchtune.data import Message

from mos_tune.distributed import log
from mos_tune.errors import UserError


class Text:
    """A tokenizer with what an evaluation needs of it.

    Args:
        tokenizer (Any): any of torchtune's, or one like
            :class:`~mos_tune.tokenizers.HFChatTokenizer`.
        add_bos (bool | None): put the beginning-of-sequence token in front of every text that does
            not begin with it already. None, the default: as the model's ``tokenizer.json`` does it;
            with a tokenizer of torchtune, which has no such file, wherever there is such a token.

    Attributes:
        prefix_id (int): what a continuation without context follows: the beginning of a sequence,
            or its end where there is no beginning.
        stop_ids (list[int]): tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, add_bos: bool | None = None) -> None:
        self._tokenizer = tokenizer
        bos_id = getattr(tokenizer, "bos_id", None)
        self.prefix_id: int = tokenizer.eos_id if bos_id is None else bos_id
        self.stop_ids = list(tokenizer.stop_tokens)
        if add_bos is None:
            add_bos = getattr(tokenizer, "adds_bos", True)
        self._add_bos = add_bos and bos_id is not None
        self._bos_text = getattr(tokenizer, "bos_token", None)
        parameters = inspect.signature(tokenizer.decode).parameters
        self._decode_options = {
            name: value
            for name, value in {"skip_special_tokens": True, "truncate_at_eos": False}.items()
            if name in parameters
        }
        self._system_role_refused = False

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Give the token ids of a text; ``add_special_tokens=False`` for the middle of one."""
        begins = self._bos_text is not None and text.startswith(self._bos_text)
        add_bos = self._add_bos and add_special_tokens and not begins
        return list(self._tokenizer.encode(text, add_bos=add_bos, add_eos=False))

    def encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Give the token ids of a context and of what follows it, tokenized as one text.

        Spaces at the end of the context count as the continuation's, as tokens usually begin with
        a space.
        """
        if not context:
            following = self.encode(continuation, add_special_tokens=False)
            if following[:1] == [self.prefix_id]:
                return following[:1], following[1:]
            return [self.prefix_id], following
        begin = len(context.rstrip())
        context, continuation = context[:begin], context[begin:] + continuation
        whole, front = self.encode(context + continuation), self.encode(context)
        return front, whole[len(front) :]

    def decode(self, tokens: Sequence[int]) -> str:
        """Give the text of token ids, without special tokens."""
        return str(self._tokenizer.decode(list(tokens), **self._decode_options))

    def render(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        """Write a conversation with the model's chat template.

        Args:
            messages (Sequence[Mapping[str, str]]): turns with ``role`` and ``content``.
            add_generation_prompt (bool): whether the assistant's header follows; if not, the text
                ends within the last turn, for the model to continue it.

        Raises:
            UserError: if the tokenizer has no chat template.
        """
        if not hasattr(self._tokenizer, "render"):
            raise UserError(
                f"apply_chat_template is True, but {type(self._tokenizer).__name__} has no chat "
                "template; tokenizer._component_=mos_tune.tokenizers.HFChatTokenizer reads the "
                "model's own"
            )
        if self._system_role_refused:
            messages = _without_system(messages)
        try:
            text = str(self._tokenizer.render(messages, add_generation_prompt))
        except UserError:
            # As lm-eval does: a task's description comes as a system message.
            if messages == _without_system(messages):
                raise
            text = str(self._tokenizer.render(_without_system(messages), add_generation_prompt))
            log.warning("The chat template refuses system messages; they are left out.")
            self._system_role_refused = True
        if not add_generation_prompt:
            last = messages[-1]["content"].strip()
            text = text[: text.rindex(last) + len(last)]
        return text


def chat_prompt(tokenizer: Any, turns: Sequence[str]) -> list[int]:
    """Tokenize a conversation with the tokenizer's own chat template.

    Args:
        tokenizer (Any): one of torchtune's, or one like
            :class:`~mos_tune.tokenizers.HFChatTokenizer`.
        turns (Sequence[str]): what user and assistant said in turn; the user is first and last.

    Returns:
        list[int]: token ids, the assistant's header last where there is one.
    """
    # Masked, because nobody trains on it: some templates cannot tell an answer from the rest.
    messages = [
        Message(role=("user", "assistant")[i % 2], content=text, masked=True)
        for i, text in enumerate([*turns, ""])  # The empty answer asks torchtune for the header.
    ]
    tokens = list(tokenizer({"messages": messages}, inference=True)["tokens"])
    # torchtune's Gemma, Llama 2, Mistral and Qwen2 tokenizers close it, though told to infer.
    options = inspect.signature(tokenizer.tokenize_messages).parameters
    if "add_end_tokens" not in options and tokens[-1] == tokenizer.eos_id:
        tokens.pop()
    return tokens


def _without_system(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    return [message for message in messages if message["role"] != "system"]
