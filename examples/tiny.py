# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Made-up data and a tiny model, so that the examples beside it need no download."""

import random
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mos_tune.mixture import TokenizedExamples

PAD, ANSWER, END = 0, 1, 2
DIGITS = range(3, 13)
TASKS: dict[str, Callable[[list[int]], list[int]]] = {
    "repeat": lambda digits: digits[:1] * len(digits),
    "sort": sorted,
    "reverse": lambda digits: digits[::-1],
}
VOCAB_SIZE = DIGITS.stop + len(TASKS)


def datasets() -> tuple[dict[str, TokenizedExamples], dict[str, TokenizedExamples]]:
    """Make training and held-out examples of every task, always the same ones."""
    rows = {task: _rows(task) for task in TASKS}
    train = {task: TokenizedExamples(part[:500]) for task, part in rows.items()}
    held_out = {task: TokenizedExamples(part[500:]) for task, part in rows.items()}
    return train, held_out


def _rows(task: str) -> list[dict[str, Any]]:
    """Make rows with ``tokens`` and ``labels``: the task's token, 3 to 8 digits, the answer."""
    rng = random.Random(task)
    rows = []
    for _ in range(600):
        digits = rng.choices(DIGITS, k=rng.randint(3, 8))
        prompt = [DIGITS.stop + list(TASKS).index(task), *digits, ANSWER]
        answer = [*TASKS[task](digits), END]
        rows.append({"tokens": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows


class TinyLM(nn.Module):
    """A causal language model in the shape that rewards know: norm, output and unembed."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB_SIZE, width)
        self.position = nn.Embedding(32, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, VOCAB_SIZE)

    def forward(self, tokens: Tensor) -> Tensor:
        """Give logits ``[b, s, v]`` for token ids ``[b, s]``."""
        length = tokens.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=tokens.device)
        hidden = self.embedding(tokens) + self.position.weight[:length]
        return self.unembed(self.layers(hidden, mask=mask, is_causal=True))

    def unembed(self, hidden: Tensor) -> Tensor:
        """Give logits for the last layer's output; rewards put their own work in its place."""
        return self.output(self.norm(hidden))
