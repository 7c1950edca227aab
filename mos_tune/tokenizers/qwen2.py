# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Qwen's tokenizer, which trains on the token that ends an answer."""

from copy import copy
from typing import Any

from torchtune.data import Message
from torchtune.data._prompt_templates import _get_prompt_template
from torchtune.models.qwen2 import Qwen2Tokenizer
from torchtune.models.qwen2._tokenizer import QWEN2_SPECIAL_TOKENS
from torchtune.modules.transforms.tokenizers import parse_hf_tokenizer_json


class _Qwen2Tokenizer(Qwen2Tokenizer):
    def tokenize_messages(
        self, messages: list[Message], *, add_eos: bool = True
    ) -> tuple[list[int], list[bool]]:
        if self.max_seq_len is not None:
            whole = copy(self)
            whole.max_seq_len = None
            tokens, mask = whole.tokenize_messages(messages, add_eos=add_eos)
            if len(tokens) <= self.max_seq_len:
                return tokens, mask
        written: tuple[list[int], list[bool]] = super().tokenize_messages(messages, add_eos=add_eos)
        return written


def qwen2_tokenizer(
    path: str,
    merges_file: str,
    special_tokens_path: str | None = None,
    max_seq_len: int | None = None,
    prompt_template: Any = None,
) -> Qwen2Tokenizer:
    """Build torchtune's tokenizer for Qwen 1.5 and 2, mended.

    With ``max_seq_len`` torchtune's own masks the last token of every conversation, also of those
    that are not cut off, so that a model does not learn to stop. Here that of a conversation that
    fits is trained on, as it is without ``max_seq_len``. One that is cut off still gets an end
    token that is masked.

    Args:
        path (str): of ``vocab.json``.
        merges_file (str): of ``merges.txt``.
        special_tokens_path (str | None): of a ``tokenizer.json`` with the special tokens. Default
            None: Qwen2's.
        max_seq_len (int | None): longest conversation, in tokens. Default None: no limit.
        prompt_template (Any): as in ``torchtune.models.qwen2.qwen2_tokenizer``. Default None.

    Returns:
        Qwen2Tokenizer: the tokenizer.

    Example:
        >>> qwen2_tokenizer("vocab.json", "merges.txt", max_seq_len=2048)
    """
    special_tokens = QWEN2_SPECIAL_TOKENS
    if special_tokens_path is not None:
        special_tokens = parse_hf_tokenizer_json(special_tokens_path)
    template = None if prompt_template is None else _get_prompt_template(prompt_template)
    return _Qwen2Tokenizer(path, merges_file, special_tokens, max_seq_len, prompt_template=template)
