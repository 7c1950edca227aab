# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A task's ``generation_kwargs``, read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mos_tune.errors import UserError

MAX_GEN_TOKS = 256
"""Most new tokens where a task does not say; lm-eval's default."""


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
