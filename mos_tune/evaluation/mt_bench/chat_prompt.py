# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A conversation as the tokens that ask the assistant for its next turn."""

import inspect
from collections.abc import Sequence
from typing import Any

from torchtune.data import Message


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
