# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Forward passes that end before, or inside, the output projection."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mos_tune.rewards.models import causal_lm, reshard

NUM_CHUNKS = 8
"""Pieces of the output projection: as many as torchtune's chunked cross-entropy takes by
default."""


@contextmanager
def measuring(model: nn.Module) -> Iterator[None]:
    """Run forward passes without gradient and dropout, and leave the model as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        reshard(model)
        model.train(was_training)


def forward_with_head(
    model: nn.Module, tokens: Tensor, head: Callable[[Tensor], Tensor], **options: Tensor
) -> Tensor:
    """Run the model with ``head`` in place of the output projection.

    Args:
        model (nn.Module): as :func:`~mos_tune.rewards.models.causal_lm` takes it.
        tokens (Tensor): token ids with shape ``[b, s]``.
        head (Callable[[Tensor], Tensor]): gets the hidden states after the final norm, shape
            ``[b, s, d]``.
        **options (Tensor): passed on to the model: ``mask``, ``input_pos``.

    Returns:
        Tensor: what ``head`` returns.
    """
    return causal_lm(model).forward_with_head(tokens, head, **options)


def hidden_states(model: nn.Module, tokens: Tensor) -> Tensor:
    """Compute the topmost hidden states, after the final norm, without the output projection.

    Args:
        model (nn.Module): as :func:`~mos_tune.rewards.models.causal_lm` takes it.
        tokens (Tensor): token ids, padded on the right, shape ``[b, s]``.

    Returns:
        Tensor: hidden states with shape ``[b, s, d]``.
    """
    return forward_with_head(model, tokens, lambda hidden: hidden)


def each_response_token(
    model: nn.Module,
    tokens: Tensor,
    labels: Tensor,
    fn: Callable[[Tensor, Tensor], Tensor],
    ignore_index: int = -100,
) -> tuple[Tensor, Tensor]:
    """Evaluate a function of the logits at every response token.

    The output projection sees response positions only, and one of :data:`NUM_CHUNKS` pieces of them
    at a time: without gradient, no more logits than that ever exist.

    Args:
        model (nn.Module): as :func:`~mos_tune.rewards.models.causal_lm` takes it.
        tokens (Tensor): token ids, padded on the right, shape ``[b, s]``.
        labels (Tensor): the same tokens with ``ignore_index`` on prompt and padding, not shifted,
            shape ``[b, s]``.
        fn (Callable[[Tensor, Tensor], Tensor]): takes logits, in float32 or wider, with shape
            ``[t, v]`` and the tokens that do follow with shape ``[t]``; gives values, ``[t]``.
        ignore_index (int): label of tokens that are no response. Default -100, torchtune's.

    Returns:
        tuple[Tensor, Tensor]: float64 values, and each one's row in the batch, shapes ``[t]``.
    """
    targets = F.pad(labels[:, 1:], (0, 1), value=ignore_index)
    wanted = targets != ignore_index
    lm = causal_lm(model)

    def head(hidden: Tensor) -> Tensor:
        # A fixed number of calls: a separately sharded output layer gathers its weight at every
        # one, and the ranks must agree on how often.
        pieces = zip(
            hidden[wanted].tensor_split(NUM_CHUNKS),
            targets[wanted].tensor_split(NUM_CHUNKS),
            strict=True,
        )
        return torch.cat(
            [fn(at_least_float32(lm.project(piece)), target) for piece, target in pieces]
        )

    return lm.forward_with_head(tokens, head).double(), wanted.nonzero()[:, 0]


def response_log_likelihood(
    model: nn.Module, tokens: Tensor, labels: Tensor, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    """Compute the log-likelihood of every example's response tokens.

    Args are those of :func:`each_response_token`.

    Returns:
        tuple[Tensor, Tensor]: float64 sum of log-likelihoods in nats and number of response tokens
        of every example, each with shape ``[b]``.
    """

    def log_likelihood(logits: Tensor, target: Tensor) -> Tensor:
        return -F.cross_entropy(logits, target, reduction="none")

    return sum_by_row(
        *each_response_token(model, tokens, labels, log_likelihood, ignore_index), len(tokens)
    )


def sum_by_row(values: Tensor, rows: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Sum, and count, what :func:`each_response_token` gives.

    Returns:
        tuple[Tensor, Tensor]: float64 sum and number of each example's values, shapes ``[b]``.
    """
    sums = values.new_zeros(num_rows).index_add_(0, rows, values)
    return sums, torch.bincount(rows, minlength=num_rows)


def at_least_float32(values: Tensor) -> Tensor:
    """Widen bfloat16 to float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
