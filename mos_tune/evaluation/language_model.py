# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A torchtune model as lm-eval asks it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torchtune.modules import TransformerDecoder
from tqdm import tqdm

from mos_tune.distributed import log
from mos_tune.errors import UserError
from mos_tune.evaluation.generation import (
    GenerationOptions,
    Sampler,
    generate,
    greedy,
    seed_of,
)
from mos_tune.evaluation.ranks import Ranks, in_batches
from mos_tune.evaluation.scoring import Score, score
from mos_tune.evaluation.text import Text


class TorchtuneLM(LM):
    """What torchtune's eval recipe takes for its own wrapper; text only.

    lm-eval runs on rank 0 alone and sees one rank. Its requests are sorted by length, put into
    batches and spread over the ranks here, so a batch is the same on any number of ranks, and so
    are scores, their order and their standard errors.

    Args:
        model (TransformerDecoder): in eval mode, whole on every rank.
        tokenizer (Any): any of torchtune's.
        device (torch.device): the model's; torchtune's recipe gives it.
        max_seq_length (int): longest text in tokens; of a longer one the beginning is cut off.
        batch_size (int): rows of a forward pass, on each rank.
        dtype (torch.dtype): the model's, for the key-value cache.
        enable_kv_cache (bool): generate with a cache.
        add_bos (bool | None): see :class:`~mos_tune.evaluation.text.Text`.
        seed (int): of sampled answers; answers do not depend on batches or ranks.
    """

    def __init__(
        self,
        model: TransformerDecoder,
        tokenizer: Any,
        *,
        device: torch.device,
        max_seq_length: int = 4096,
        batch_size: int = 8,
        dtype: torch.dtype = torch.float32,
        enable_kv_cache: bool = True,
        add_bos: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._model = model
        self._text = Text(tokenizer, add_bos)
        self._max_length = max_seq_length
        self._batch_size = batch_size
        self._cache_dtype = dtype if enable_kv_cache else None
        self._seed = seed
        self.ranks = Ranks({"score": self._score, "answer": self._answer})

    @property
    def tokenizer_name(self) -> str:
        """Part of the name of a cache that is not used here; lm-eval asks all the same."""
        return type(self._text).__name__

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Write a conversation with the model's chat template."""
        return self._text.render(chat_history, add_generation_prompt)

    def loglikelihood(self, requests: list[Instance]) -> list[Score]:
        """Score every request's continuation; arguments and result as lm-eval has them."""
        pairs = [self._text.encode_pair(*request.args) for request in requests]
        return self._score_pairs(pairs, "Log-likelihoods")

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Score whole texts, long ones in windows; arguments and result as lm-eval has them."""
        pairs: list[tuple[list[int], list[int]]] = []
        counts = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self._text.encode(request.args[0]),
                prefix_token=self._text.prefix_id,
                max_seq_len=self._max_length,
                context_len=1,
            )
            before = len(pairs)
            pairs += map(make_disjoint_window, windows)
            counts.append(len(pairs) - before)
        scores = iter(self._score_pairs(pairs, "Log-likelihoods of whole texts"))
        return [sum(next(scores)[0] for _ in range(count)) for count in counts]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answer every request; arguments and result as lm-eval has them."""
        groups: dict[GenerationOptions, list[tuple[list[int], int]]] = defaultdict(list)
        answers = [""] * len(requests)
        for index, request in enumerate(requests):
            context, gen_kwargs = request.args
            options = GenerationOptions.read(gen_kwargs)
            room = self._max_length - options.max_new_tokens
            if room < 1:
                raise UserError(
                    f"max_seq_length is {self._max_length}, which leaves no room for a question "
                    f"beside the {options.max_new_tokens} tokens of {request.task_name}'s answers "
                    "(max_gen_toks)"
                )
            groups[options].append((self._text.encode(context)[-room:], index))
        with tqdm(total=len(requests), desc="Answers") as bar:
            for options, prompts in groups.items():
                prompts.sort(key=lambda prompt: -len(prompt[0]))
                batches = list(in_batches(prompts, self._batch_size))
                done = self.ranks.run("answer", batches, on_progress=bar.update, options=options)
                for batch, texts in zip(batches, done, strict=True):
                    for (_, index), text in zip(batch, texts, strict=True):
                        answers[index] = text
        return answers

    def _score_pairs(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], title: str
    ) -> list[Score]:
        # The choices of a question often differ in their last token only: the model reads them
        # once.
        places: dict[tuple[int, ...], list[int]] = defaultdict(list)
        cut = 0
        for index, (context, continuation) in enumerate(pairs):
            if len(continuation) > self._max_length:
                raise UserError(
                    f"max_seq_length is {self._max_length}, and an answer to score has "
                    f"{len(continuation)} tokens"
                )
            whole = [*context, *continuation]
            cut += len(whole) > self._max_length + 1
            places[tuple(whole[-self._max_length - 1 : -1])].append(index)
        if cut:
            log.warning(
                f"{cut} of {len(pairs)} texts are longer than max_seq_length {self._max_length}: "
                "their beginning is cut off"
            )
        # Long ones first: if memory does not suffice, that shows at once.
        inputs = sorted(places, key=lambda read: (-len(read), read))
        batches = [
            [(list(read), [list(pairs[index][1]) for index in places[read]]) for read in some]
            for some in in_batches(inputs, self._batch_size)
        ]
        with tqdm(total=len(inputs), desc=title) as bar:
            done = self.ranks.run("score", batches, on_progress=bar.update)
        scores: list[Score] = [(0.0, False)] * len(pairs)
        in_order = (row for batch in done for row in batch)
        for read, row in zip(inputs, in_order, strict=True):
            for index, one in zip(places[read], row, strict=True):
                scores[index] = one
        return scores

    def _score(self, batch: Sequence[Any]) -> list[list[Score]]:
        return score(self._model, batch)

    def _answer(self, batch: Sequence[tuple[list[int], int]], options: Any) -> list[str]:
        choose = greedy
        if options.temperature > 0:
            seeds = [seed_of(self._seed, index) for _, index in batch]
            choose = Sampler(seeds, options.temperature, options.top_k, options.top_p)
        # No stop string has more tokens than bytes, and the first token may lose a space.
        tail = max((len(text.encode()) for text in options.until), default=0) + 1

        def is_finished(tokens: Sequence[int]) -> bool:
            if tokens[-1] in self._text.stop_ids:
                return True
            end = self._text.decode(tokens[-tail:]) if options.until else ""
            return any(stop in end for stop in options.until)

        rows = generate(
            self._model,
            [prompt for prompt, _ in batch],
            choose=choose,
            is_finished=is_finished,
            max_new_tokens=options.max_new_tokens,
            cache_dtype=self._cache_dtype,
        )
        return [self._answer_text(row, options.until) for row in rows]

    def _answer_text(self, tokens: list[int], until: Iterable[str]) -> str:
        if tokens and tokens[-1] in self._text.stop_ids:
            tokens = tokens[:-1]
        text = self._text.decode(tokens)
        for stop in until:
            text = text.split(stop, 1)[0]
        return text
