# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Log-likelihoods of continuations, a batch at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchtune.modules import TransformerDecoder

from mos_tune.rewards import forward_with_head

POSITIONS_AT_ONCE = 512
"""Positions whose logits exist at the same time: 256 MB in fp32 with Llama-3's vocabulary."""

Score = tuple[float, bool]
"""Log-likelihood in nats, and whether greedy decoding would have given the continuation."""

Input = tuple[Sequence[int], Sequence[Sequence[int]]]
"""Tokens the model reads, and continuations whose tokens but the last are the end of these."""


@torch.no_grad()
def score(model: TransformerDecoder, batch: Sequence[Input]) -> list[list[Score]]:
    """Score continuations in one forward pass.

    The output projection sees only positions that predict a token of a continuation.

    Args:
        model (TransformerDecoder): in eval mode, without caches.
        batch (Sequence[Input]): what to read and to score.

    Returns:
        list[list[Score]]: for every input, a score for every continuation.
    """
    device = next(model.parameters()).device
    lengths = [len(read) for read, _ in batch]
    tokens = torch.zeros((len(batch), max(lengths)), dtype=torch.long)
    for row, (read, _) in zip(tokens, batch, strict=True):
        # Padded on the right, which the causal mask hides from all that is scored.
        row[: len(read)] = torch.tensor(read)

    rows: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    sizes: list[int] = []
    for row_index, (length, (_, continuations)) in enumerate(zip(lengths, batch, strict=True)):
        for continuation in continuations:
            rows += [row_index] * len(continuation)
            positions += range(length - len(continuation), length)
            targets += continuation
            sizes.append(len(continuation))
    wanted = torch.tensor([rows, positions], dtype=torch.long, device=device)
    labels = torch.tensor(targets, dtype=torch.long, device=device)

    def head(hidden: Tensor) -> Tensor:
        scored = []
        picked = hidden[wanted[0], wanted[1]]
        for part, label in zip(
            picked.split(POSITIONS_AT_ONCE), labels.split(POSITIONS_AT_ONCE), strict=True
        ):
            # With a first dimension, because a tied output layer takes three.
            logits = model.output(part[None])[0].float()
            log_likelihood = logits.log_softmax(-1).gather(-1, label[:, None])[:, 0]
            scored.append(torch.stack([log_likelihood, logits.argmax(-1) == label]))
        return torch.cat(scored, dim=1)

    log_likelihoods, hits = forward_with_head(model, tokens.to(device), head).double().cpu()
    scores = iter(
        (float(part.sum()), bool(hit.all()))
        for part, hit in zip(log_likelihoods.split(sizes), hits.split(sizes), strict=True)
    )
    return [[next(scores) for _ in continuations] for _, continuations in batch]
