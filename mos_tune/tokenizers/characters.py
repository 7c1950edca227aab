# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A tokenizer without files: one token per printable ASCII character."""

import string
from collections.abc import Mapping
from typing import Any

from torchtune.data import Message
from torchtune.modules.transforms import Transform
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.errors import UserError, check_whole

# <unk>, <bos> and <eos> come first, as transformers' Llama config takes for granted.
SPECIAL_TOKENS = ("<unk>", "<bos>", "<eos>", "<pad>", "<system>", "<user>", "<assistant>")
CHARACTERS = string.digits + string.ascii_letters + string.punctuation + " \n"


class CharTokenizer(ModelTokenizer, Transform):
    """Tokenize conversations character by character.

    The vocabulary has 103 entries: seven special tokens, then the 95 printable ASCII
    characters and the newline. Every other character becomes ``<unk>``. A conversation reads

        <bos> <user> question <assistant> answer <eos>

    The message masks decide what is trained on, except that the tokens in front of a message's
    text are always masked: a response is its text and its ``<eos>``, nothing else.

    Args:
        max_seq_len (int | None): longest conversation, in tokens; what goes beyond is cut off at
            the end. Default None: no limit.

    Attributes:
        special_tokens (dict[str, int]): every special token's text and id.
        pad_id (int): what collators pad with.
        stop_tokens (list[int]): what ends a generation.

    Raises:
        UserError: if ``max_seq_len`` is no whole number of at least 1.

    Example:
        >>> tokenizer = CharTokenizer()
        >>> tokenizer.decode(tokenizer.encode("copy 123"))
        'copy 123'
    """

    def __init__(self, max_seq_len: int | None = None) -> None:
        if max_seq_len is not None:
            check_whole("tokenizer.max_seq_len", max_seq_len)
        self.max_seq_len = max_seq_len
        self.special_tokens = {token: i for i, token in enumerate(SPECIAL_TOKENS)}
        self.pad_id = self.special_tokens["<pad>"]
        self.unk_id = self.special_tokens["<unk>"]
        self.bos_id = self.special_tokens["<bos>"]
        self.eos_id = self.special_tokens["<eos>"]
        self.stop_tokens = [self.eos_id]
        self._id_of = {c: i for i, c in enumerate(CHARACTERS, start=len(SPECIAL_TOKENS))}
        self._text_of = [*SPECIAL_TOKENS, *CHARACTERS]

    @property
    def vocab_size(self) -> int:
        """Number of token ids, special tokens included: 103."""
        return len(self._text_of)

    def encode(self, text: str, add_bos: bool = True, add_eos: bool = True) -> list[int]:
        """Turn text into token ids, one per character.

        Args:
            text (str): any text; a special token's name in it is read as plain characters.
            add_bos (bool): whether ``<bos>`` comes first.
            add_eos (bool): whether ``<eos>`` comes last.

        Returns:
            list[int]: the token ids.
        """
        tokens = [self._id_of.get(character, self.unk_id) for character in text]
        return [self.bos_id] * add_bos + tokens + [self.eos_id] * add_eos

    def decode(
        self,
        token_ids: list[int],
        truncate_at_eos: bool = True,
        skip_special_tokens: bool = True,
    ) -> str:
        """Turn token ids into text.

        Args:
            token_ids (list[int]): ids below :attr:`vocab_size`.
            truncate_at_eos (bool): whether the text ends before the first ``<eos>``.
            skip_special_tokens (bool): whether special tokens are left out of the text.

        Returns:
            str: the text.
        """
        if truncate_at_eos and self.eos_id in token_ids:
            token_ids = token_ids[: token_ids.index(self.eos_id)]
        first = len(SPECIAL_TOKENS) if skip_special_tokens else 0
        return "".join(self._text_of[token] for token in token_ids if token >= first)

    def tokenize_messages(
        self, messages: list[Message], *, add_end_tokens: bool = True
    ) -> tuple[list[int], list[bool]]:
        """Turn a conversation into token ids and a mask.

        Args:
            messages (list[Message]): turns of the system, user and assistant, text only.
            add_end_tokens (bool): whether a last message of the assistant ends with ``<eos>``;
                False for generation, which goes on from there.

        Returns:
            tuple[list[int], list[bool]]: the token ids, and for each whether it is masked (True:
            not trained on).

        Raises:
            UserError: if a role has no token here.
        """
        tokens, mask = [self.bos_id], [True]
        for i, message in enumerate(messages):
            role = f"<{message.role}>"
            if role not in self.special_tokens:
                raise UserError(
                    "tokenizer: CharTokenizer knows the roles system, user and assistant, "
                    f"got a message with the role {message.role!r}"
                )
            closed = message.role == "assistant" and (add_end_tokens or i < len(messages) - 1)
            body = self.encode(message.text_content, add_bos=False, add_eos=closed)
            tokens += [self.special_tokens[role], *body]
            mask += [True] + [message.masked] * len(body)
        # No <eos> after a cut: the answer did not end there, and must not be learned to.
        return tokens[: self.max_seq_len], mask[: self.max_seq_len]

    def __call__(self, sample: Mapping[str, Any], inference: bool = False) -> dict[str, Any]:
        """Replace a sample's ``messages`` by its ``tokens`` and ``mask``.

        Args:
            sample (Mapping[str, Any]): has the key ``messages``, a list of messages.
            inference (bool): whether a model is to continue the last message, not to learn it.

        Returns:
            dict[str, Any]: the sample's other keys, with ``tokens`` and ``mask``.
        """
        rest = {key: value for key, value in sample.items() if key != "messages"}
        tokens, mask = self.tokenize_messages(sample["messages"], add_end_tokens=not inference)
        return {**rest, "tokens": tokens, "mask": mask}
