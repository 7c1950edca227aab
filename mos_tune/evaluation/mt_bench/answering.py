# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A model's answers to both turns of a question."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torchtune.modules import TransformerDecoder

from mos_tune.errors import UserError
from mos_tune.evaluation.generation import Sampler, generate, greedy
from mos_tune.evaluation.mt_bench.benchmark import Question
from mos_tune.evaluation.ranks import Ranks
from mos_tune.evaluation.text import Text, chat_prompt
from mos_tune.mixture.randomness import derived_seed

TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "stem": 0.1,
    "humanities": 0.1,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
}
"""The benchmark's own, by category; 0 is greedy. A further category has ``TEMPERATURE``."""

TEMPERATURE = 0.7


class TwoTurnAnswerer:
    """Let a model answer through its chat template, then the second turn after its own answer.

    An answer is a function of weights, question and seed: neither the batch nor the rank matters,
    but for rounding.

    Args:
        model (TransformerDecoder): in eval mode, without caches.
        tokenizer (Any): one of torchtune's, or one like
            :class:`~mos_tune.tokenizers.HFChatTokenizer`.
        device (torch.device): the model's.
        max_seq_length (int): most tokens of a conversation, the answer included.
        batch_size (int): questions answered together, on each rank.
        dtype (torch.dtype): the model's, for the key-value cache.
        enable_kv_cache (bool): generate with a cache.
        max_new_tokens (int): most tokens of an answer; fewer where the conversation has no room.
        seed (int): of the answers that are sampled.

    Attributes:
        ranks (Ranks): do the work that rank 0 hands out as ``"answer"``.
    """

    def __init__(
        self,
        model: TransformerDecoder,
        tokenizer: Any,
        *,
        device: torch.device,
        max_seq_length: int,
        batch_size: int,
        dtype: torch.dtype,
        enable_kv_cache: bool,
        max_new_tokens: int,
        seed: int,
    ) -> None:
        self.batch_size = batch_size
        self.ranks = Ranks({"answer": self.answer})
        self._model = model
        self._tokenizer = tokenizer
        self._text = Text(tokenizer)
        self._max_seq_length = max_seq_length
        self._cache_dtype = dtype if enable_kv_cache else None
        self._max_new_tokens = max_new_tokens
        self._seed = seed

    def answer(self, questions: Sequence[Question]) -> list[tuple[str, str]]:
        """Answer questions of one temperature together.

        Args:
            questions (Sequence[Question]): a batch.

        Returns:
            list[tuple[str, str]]: both answers to every question.

        Raises:
            UserError: if a conversation leaves no room for an answer.
        """
        first = self._answers(questions, 1, [[question.turns[0]] for question in questions])
        second = self._answers(
            questions,
            2,
            [
                [question.turns[0], answer, question.turns[1]]
                for question, answer in zip(questions, first, strict=True)
            ],
        )
        return list(zip(first, second, strict=True))

    def _answers(
        self, questions: Sequence[Question], turn: int, talks: Sequence[Sequence[str]]
    ) -> list[str]:
        prompts = [chat_prompt(self._tokenizer, talk) for talk in talks]
        # A row's limit must not depend on the longest prompt beside it, so rows of one limit go
        # together.
        rows_by_limit: dict[int, list[int]] = defaultdict(list)
        for row, prompt in enumerate(prompts):
            self._check_room(questions[row], turn, len(prompt))
            limit = min(self._max_new_tokens, self._max_seq_length - len(prompt))
            rows_by_limit[limit].append(row)
        answers = [""] * len(prompts)
        for limit, rows in rows_by_limit.items():
            temperature = temperature_of(questions[rows[0]])
            seeds = [
                derived_seed(self._seed, "mt_bench", questions[row].question_id, turn)
                for row in rows
            ]
            made = generate(
                self._model,
                [prompts[row] for row in rows],
                choose=Sampler(seeds, temperature) if temperature else greedy,
                is_finished=lambda tokens: tokens[-1] in self._text.stop_ids,
                max_new_tokens=limit,
                cache_dtype=self._cache_dtype,
            )
            for row, tokens in zip(rows, made, strict=True):
                if tokens[-1] in self._text.stop_ids:
                    tokens = tokens[:-1]
                answers[row] = self._text.decode(tokens).strip()
        return answers

    def _check_room(self, question: Question, turn: int, length: int) -> None:
        limits = {"max_seq_length": self._max_seq_length}
        # A tokenizer's own limit cuts off the end, and with it the assistant's header.
        if getattr(self._tokenizer, "max_seq_len", None) is not None:
            limits["tokenizer.max_seq_len"] = self._tokenizer.max_seq_len
        for key, limit in limits.items():
            if length >= limit:
                raise UserError(
                    f"{key} is {limit}, which leaves no room for an answer to turn {turn} of "
                    f"MT-bench's question {question.question_id}"
                )


def temperature_of(question: Question) -> float:
    """Give the temperature at which a question's category is answered."""
    return TEMPERATURES.get(question.category, TEMPERATURE)
