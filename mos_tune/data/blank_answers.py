# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a tokenizer writes around an answer, to tell one that says nothing."""

import logging
from collections.abc import Iterator
from os.path import commonprefix
from typing import Any

import numpy as np
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX, Message

from mos_tune.distributed import log_rank_zero

CUT_OFF = "no response token, all masked or cut off by tokenizer.max_seq_len"
BLANK = "a blank answer"


class Answers:
    """Tells which responses teach nothing.

    Some of torchtune's tokenizers, Llama 3's and Qwen's among them, train on the header of an
    answer too, so a response without a word is not without tokens. What they write around nothing
    is found out by letting them write it.

    Args:
        tokenizer (Any): its ``eos_id`` and ``stop_tokens`` are what ends a response.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._stops = stop_tokens(tokenizer)
        self._around: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
        self._spaces: dict[int, bool] = {}
        # What ends an answer may depend on whether another turn follows.
        for turns in (1, 2):
            blank = _trained_spans(tokenizer, "", turns)
            word = _trained_spans(tokenizer, "x", turns)
            if len(blank) == len(word):
                for empty, full in zip(blank, word, strict=True):
                    header = len(commonprefix([empty, full]))
                    self._around.add((empty[:header], empty[header:]))

    def useless(self, labels: np.ndarray) -> str | None:
        """Give the reason why an example's labels, ``[s]``, teach nothing; None if they do."""
        spans = list(_spans(labels[1:]))  # the first label is never predicted
        if not spans:
            return CUT_OFF
        if all(label in self._stops for span in spans for label in span):
            return BLANK
        if all(self._is_blank(span) for span in spans):
            return BLANK
        if all(self._is_header(span) for span in spans):
            return CUT_OFF
        return None

    def _is_header(self, span: tuple[int, ...]) -> bool:
        return any(end and header[: len(span)] == span for header, end in self._around)

    def _is_blank(self, span: tuple[int, ...]) -> bool:
        for header, end in self._around:
            last = len(span) - len(end)
            if last >= len(header) and (span[: len(header)], span[last:]) == (header, end):
                if all(map(self._is_space, span[len(header) : last])):
                    return True
        return False

    def _is_space(self, token: int) -> bool:
        if token not in self._spaces:
            try:
                self._spaces[token] = self._tokenizer.decode([token]).isspace()
            except Exception:  # anyone's tokenizer; then it is a word
                self._spaces[token] = False
        return self._spaces[token]


def stop_tokens(tokenizer: Any) -> set[int]:
    """Give what ends a generation."""
    stops = {getattr(tokenizer, "eos_id", None), *(getattr(tokenizer, "stop_tokens", None) or ())}
    return stops - {None}


def say_if_end_is_masked(tokenizer: Any) -> None:
    """Warn if a tokenizer ends answers by a stop token that is never trained on."""
    try:
        tokens, mask = _written(tokenizer, "x", 1)
    except Exception:  # not every tokenizer takes messages
        return
    limit = getattr(tokenizer, "max_seq_len", None)
    stops = stop_tokens(tokenizer)
    last = [place for place, token in enumerate(tokens) if token in stops][-1:]
    trained = any(token in stops and not hidden for token, hidden in zip(tokens, mask, strict=True))
    if last and not trained and (limit is None or len(tokens) < limit):
        log_rank_zero(
            f"tokenizer {type(tokenizer).__name__} masks the end token {tokens[last[0]]} of every "
            "answer, so the model does not learn to stop; tokenizer.max_seq_len: null trains on "
            "it, as does mos_tune.tokenizers.qwen2_tokenizer for Qwen",
            level=logging.WARNING,
        )


def _written(tokenizer: Any, answer: str, turns: int) -> tuple[list[int], list[bool]]:
    messages = []
    for _ in range(turns):
        messages.append(Message(role="user", content="x", masked=True))
        messages.append(Message(role="assistant", content=answer))
    example = tokenizer({"messages": messages})
    return example["tokens"], example["mask"]


def _trained_spans(tokenizer: Any, answer: str, turns: int) -> list[tuple[int, ...]]:
    try:
        tokens, mask = _written(tokenizer, answer, turns)
    except Exception:  # not every tokenizer takes messages, nor every template a blank one
        return []
    return list(_spans(np.where(mask, CROSS_ENTROPY_IGNORE_IDX, tokens)))


def _spans(labels: np.ndarray) -> Iterator[tuple[int, ...]]:
    trained = np.concatenate([[False], labels != CROSS_ENTROPY_IGNORE_IDX, [False]])
    for start, stop in np.flatnonzero(trained[1:] != trained[:-1]).reshape(-1, 2):
        yield tuple(labels[start:stop].tolist())
