# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Tokenizers that turn conversations into tokens and a loss mask."""

from mos_tune.tokenizers.characters import CharTokenizer
from mos_tune.tokenizers.chat_message import ChatMessage
from mos_tune.tokenizers.chat_template import ChatTemplate, ConversationRefused
from mos_tune.tokenizers.hf_chat import HFChatTokenizer
from mos_tune.tokenizers.qwen2 import qwen2_tokenizer

__all__ = [
    "CharTokenizer",
    "ChatMessage",
    "ChatTemplate",
    "ConversationRefused",
    "HFChatTokenizer",
    "qwen2_tokenizer",
]
