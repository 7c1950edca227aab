# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Answers to a batch of prompts: how they are chosen, and generation itself."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torchtune.modules import TransformerDecoder
from torchtune.modules.common_utils import local_kv_cache

from mos_tune.errors import UserError
from mos_tune.rewards import forward_with_head

MAX_GEN_TOKS = 256
"""Most new tokens where a task does not say; lm-eval's default."""

Choose = Callable[[Tensor], list[int]]
"""Gives the next token of every row from logits of shape ``[b, v]``."""


@dataclass(frozen=True)
class GenerationOptions:
    """How to answer.

    Attributes:
        until (tuple[str, ...]): an answer ends before the first of these.
        max_new_tokens (int): most tokens of an answer.
        temperature (float): 0: greedy.
        top_k (int | None): sample among so many of the likeliest tokens; None: all.
        top_p (float): sample among the likeliest tokens that together reach this probability.
    """

    until: tuple[str, ...]
    max_new_tokens: int
    temperature: float
    top_k: int | None
    top_p: float

    @classmethod
    def read(cls, gen_kwargs: Mapping[str, Any]) -> "GenerationOptions":
        """Read lm-eval's dictionary.

        Raises:
            UserError: for an option that is not known here, or without sense.
        """
        rest = {key: value for key, value in gen_kwargs.items() if value is not None}
        until = rest.pop("until", ())
        max_new_tokens = rest.pop("max_gen_toks", MAX_GEN_TOKS)
        do_sample = rest.pop("do_sample", None)
        temperature = float(rest.pop("temperature", 1.0 if do_sample else 0.0))
        top_k, top_p = rest.pop("top_k", None), float(rest.pop("top_p", 1.0))
        if rest:
            raise UserError(
                f"generation_kwargs has {', '.join(map(str, rest))}; known are until, "
                "max_gen_toks, do_sample, temperature, top_k and top_p"
            )
        if do_sample and temperature == 0:
            raise UserError("generation_kwargs has do_sample True and temperature 0; use above 0")
        if temperature < 0 or max_new_tokens < 1:
            raise UserError(
                f"generation_kwargs has temperature {temperature} and max_gen_toks "
                f"{max_new_tokens}; expected at least 0 and at least 1"
            )
        return cls(
            until=tuple(filter(None, [until] if isinstance(until, str) else until)),
            max_new_tokens=int(max_new_tokens),
            temperature=0.0 if do_sample is False else temperature,
            top_k=None if not top_k else int(top_k),
            top_p=top_p,
        )


@torch.no_grad()
def generate(
    model: TransformerDecoder,
    prompts: Sequence[Sequence[int]],
    *,
    choose: Choose,
    is_finished: Callable[[Sequence[int]], bool],
    max_new_tokens: int,
    cache_dtype: torch.dtype | None,
) -> list[list[int]]:
    """Continue prompts until all are finished.

    Prompts are padded on the left. A padded row sees neither the padding nor other positions than
    it would alone, so its tokens do not depend on the rest of the batch, but for rounding.

    Args:
        model (TransformerDecoder): in eval mode, without caches.
        prompts (Sequence[Sequence[int]]): token ids, at least one each.
        choose (Choose): greedy or sampling.
        is_finished (Callable[[Sequence[int]], bool]): gets a row's new tokens after each.
        max_new_tokens (int): most new tokens of a row; with the longest prompt, no more than the
            model's maximum.
        cache_dtype (torch.dtype | None): of the key-value cache; None for no cache, which computes
            all positions again for every token.

    Returns:
        list[list[int]]: new tokens of every prompt, up to the one that finished it.
    """
    device = next(model.parameters()).device
    longest = max(map(len, prompts))
    capacity = longest + max_new_tokens
    padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
    tokens = torch.zeros((len(prompts), longest), dtype=torch.long)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[longest - len(prompt) :] = torch.tensor(prompt)
    tokens = tokens.to(device)

    def next_logits(tokens: Tensor, first: int, width: int) -> Tensor:
        slots = torch.arange(first, first + tokens.shape[1], device=device)
        return forward_with_head(
            model,
            tokens,
            lambda hidden: model.output(hidden[:, -1:]).float(),
            mask=_mask(slots, width, padding),
            input_pos=(slots - padding[:, None]).clamp(min=0),
        )[:, -1]

    new: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    cache = nullcontext()
    if cache_dtype is not None:
        cache = local_kv_cache(
            model,
            batch_size=len(prompts),
            device=device,
            dtype=cache_dtype,
            decoder_max_seq_len=capacity,
        )
    with cache:
        first, inputs = 0, tokens
        for _ in range(max_new_tokens):
            width = first + inputs.shape[1] if cache_dtype is None else capacity
            chosen = choose(next_logits(inputs, first, width))
            for row, token in enumerate(chosen):
                if not finished[row]:
                    new[row].append(token)
                    finished[row] = is_finished(new[row])
            if all(finished):
                break
            latest = torch.tensor(chosen, device=device)[:, None]
            if cache_dtype is None:
                inputs = torch.cat([inputs, latest], dim=1)
            else:
                first, inputs = first + inputs.shape[1], latest
    return new


def _mask(slots: Tensor, width: int, padding: Tensor) -> Tensor:
    """Let slots see what came before them, without padding; shape ``[b, len(slots), width]``."""
    keys = torch.arange(width, device=slots.device)
    causal = keys <= slots[:, None]
    # A padded slot sees itself: a row without any key would be nan, and spread.
    itself = keys == slots[:, None]
    return (causal & (keys >= padding[:, None])[:, None, :]) | itself


def greedy(logits: Tensor) -> list[int]:
    """Choose the likeliest token of every row."""
    return logits.argmax(dim=-1).tolist()


class Sampler:
    """Choose tokens at random, from a generator of its own for every row.

    So what a prompt is answered does not depend on the batch it is in, nor on the rank.

    Args:
        seeds (Sequence[int]): a seed for every row.
        temperature (float): above 0; logits are divided by it.
        top_k (int | None): only so many of the likeliest tokens. Default None: all.
        top_p (float): only the likeliest tokens that together reach this probability. Default 1.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        temperature: float,
        top_k: int | None = None,
        top_p: float = 1.0,
    ) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._temperature = temperature
        self._top_k = top_k
        self._top_p = top_p

    def __call__(self, logits: Tensor) -> list[int]:
        """Choose a token of every row of ``logits``, shape ``[b, v]``."""
        rows = (logits.double().cpu() / self._temperature).softmax(dim=-1)
        return [
            self._draw(row, generator)
            for row, generator in zip(rows, self._generators, strict=True)
        ]

    def _draw(self, probabilities: Tensor, generator: torch.Generator) -> int:
        ordered, tokens = probabilities.sort(descending=True, stable=True)
        # The token that crosses top_p is still in; the likeliest always is.
        kept = ordered.cumsum(0) - ordered < self._top_p
        kept[0] = True
        if self._top_k is not None:
            kept[self._top_k :] = False
        return int(tokens[torch.multinomial(ordered * kept, 1, generator=generator)])


def seed_of(seed: int, index: int) -> int:
    """Give the seed of one answer out of the run's; torch's generator takes 32 bits of it."""
    digest = blake2b(f"{seed} {index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
