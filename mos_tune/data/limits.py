# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a model can read, known before its weights are loaded."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX

from mos_tune.errors import BadRow, UserError


class Misfit(BadRow):
    """An example that the model cannot be trained on."""


@dataclass(frozen=True)
class ModelLimits:
    """The sizes of a model that an example has to fit.

    Attributes:
        max_seq_len (int | None): tokens of the longest example. Default None: unknown.
        vocab_size (int | None): rows of the embedding. Default None: unknown.
    """

    max_seq_len: int | None = None
    vocab_size: int | None = None

    @classmethod
    def of(cls, model: Any) -> "ModelLimits":
        """Read them from a torchtune model, which may be without weights."""
        embedding = getattr(model, "tok_embeddings", None)
        return cls(getattr(model, "max_seq_len", None), getattr(embedding, "num_embeddings", None))

    def check_tokenizer(self, tokenizer: Any, packed: list[str]) -> None:
        """Check what a tokenizer adds to examples.

        Args:
            tokenizer (Any): the run's.
            packed (list[str]): datasets whose examples are packed, to its ``max_seq_len``.

        Raises:
            UserError: if packs are longer than the model reads, or padding is outside its
                embedding.
        """
        size, longest = getattr(tokenizer, "max_seq_len", None), self.max_seq_len
        if packed and size is not None and longest is not None and size > longest:
            raise UserError(
                f"dataset.{packed[0]}.packed is True, and packs have tokenizer.max_seq_len {size} "
                f"tokens, more than the model's max_seq_len {longest}"
            )
        pad_id, size = getattr(tokenizer, "pad_id", None), self.vocab_size
        if pad_id is not None and size is not None and not 0 <= pad_id < size:
            raise UserError(
                f"tokenizer pads with token {pad_id}, but the model's embedding has {size} tokens; "
                "are they of one model?"
            )

    def check(self, tokens: np.ndarray, labels: np.ndarray) -> None:
        """Check one example.

        Args:
            tokens (np.ndarray): ``[s]``.
            labels (np.ndarray): ``[s]``.

        Raises:
            Misfit: with both sizes.
        """
        if len(tokens) != len(labels):
            message = f"has {len(tokens)} tokens and {len(labels)} labels"
            raise Misfit(message, "not as many labels as tokens")
        if self.max_seq_len is not None and len(tokens) > self.max_seq_len:
            raise Misfit(
                f"has {len(tokens)} tokens, more than the model's max_seq_len {self.max_seq_len}; "
                "tokenizer.max_seq_len cuts longer ones off",
                "longer than the model's max_seq_len",
            )
        trained = labels[labels != CROSS_ENTROPY_IGNORE_IDX]
        for what, numbers in (("token", tokens), ("label", trained)):
            outside = numbers[(numbers < 0) | (numbers >= (self.vocab_size or np.inf))]
            if len(outside):
                size = "" if self.vocab_size is None else f", which has {self.vocab_size} tokens"
                raise Misfit(
                    f"has the {what} {outside[0]}, outside the model's embedding{size}",
                    "a token outside the model's embedding",
                )
