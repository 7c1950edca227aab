# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Made-up skills: datasets generated from a seed, whose difficulty and likeness are known."""

import random
import string
from collections.abc import Callable

from torch.utils.data import Dataset
from torchtune.data import CROSS_ENTROPY_IGNORE_IDX, Message
from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.errors import UserError

MAX_DIFFICULTY = 10
SHARED_SYMBOLS = string.digits
LETTERS = string.ascii_uppercase + string.ascii_lowercase

# A skill turns a question's symbols, as numbers below the difficulty, into its answer's.
SKILLS: dict[str, Callable[[list[int], int], list[int]]] = {
    "count": lambda symbols, base: [(symbols[-1] + k) % base for k in range(1, len(symbols) + 1)],
    "copy": lambda symbols, base: list(symbols),
    "sort": lambda symbols, base: sorted(symbols),
    "reverse": lambda symbols, base: symbols[::-1],
}


class SkillDataset(Dataset[dict[str, list[int]]]):
    """The dataset that :func:`skill_dataset` builds; its arguments are described there."""

    def __init__(
        self,
        tokenizer: ModelTokenizer,
        *,
        skill: str,
        size: int,
        seed: int,
        difficulty: int,
        similarity: float,
        length: int,
    ) -> None:
        if skill not in SKILLS:
            raise UserError(f"dataset: skill is {skill!r}, expected one of {', '.join(SKILLS)}.")
        for key, value, low, high in (
            ("size", size, 1, None),
            ("difficulty", difficulty, 2, MAX_DIFFICULTY),
            ("similarity", similarity, 0, 1),
            ("length", length, 1, None),
        ):
            if value < low or (high is not None and value > high):
                wanted = f"at least {low}" if high is None else f"{low} to {high}"
                raise UserError(f"dataset: {key} of skill {skill} is {value}, expected {wanted}.")
        self._tokenizer = tokenizer
        self._skill = skill
        self._size = size
        self._seed = seed
        self._difficulty = difficulty
        self._similarity = similarity
        self._length = length
        first = MAX_DIFFICULTY * list(SKILLS).index(skill)
        self._own_symbols = LETTERS[first : first + MAX_DIFFICULTY]

    def __len__(self) -> int:
        return self._size

    def text(self, index: int) -> tuple[str, str]:
        """Give the question and the answer of one example.

        Args:
            index: Position in the dataset, 0 to ``size`` - 1.

        Returns:
            The question and the answer.

        Raises:
            IndexError: If there is no such example.
        """
        if not 0 <= index < self._size:
            raise IndexError(f"{self._skill} has {self._size} examples, got index {index}")
        # A generator per example: what an index holds cannot depend on what was read before it.
        rng = random.Random(f"{self._seed}/{self._skill}/{index}")
        if rng.random() < self._similarity:
            command, symbols = f"please {self._skill}", SHARED_SYMBOLS
        else:
            command, symbols = self._skill.upper(), self._own_symbols
        values = [rng.randrange(self._difficulty) for _ in range(self._length)]
        question = "".join(symbols[value] for value in values)
        answer = "".join(symbols[value] for value in SKILLS[self._skill](values, self._difficulty))
        return f"{command} {question}", answer

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        question, answer = self.text(index)
        messages = [
            Message(role="user", content=question, masked=True),
            Message(role="assistant", content=answer),
        ]
        tokens, mask = self._tokenizer.tokenize_messages(messages)
        labels = [
            CROSS_ENTROPY_IGNORE_IDX if masked else token
            for token, masked in zip(tokens, mask, strict=True)
        ]
        return {"tokens": tokens, "labels": labels}


def skill_dataset(
    tokenizer: ModelTokenizer,
    *,
    skill: str,
    size: int,
    seed: int = 0,
    difficulty: int = MAX_DIFFICULTY,
    similarity: float = 1.0,
    length: int = 8,
) -> SkillDataset:
    """Build a dataset of one made-up skill. It needs no file and no download.

    A question is a command and a row of symbols, drawn uniformly; the answer is a row of the same
    length. ``please sort 31312`` is answered with ``11233``. The skills, from the quickest to the
    slowest to learn (measured on ``configs/tiny_llama3_mos.yaml``):

    ============ ================================================== =========
    skill        the answer                                         to 3152
    ============ ================================================== =========
    ``count``    counts on from the last symbol, 0 follows 9        3456
    ``copy``     repeats the symbols                                3152
    ``sort``     puts them in order                                 1235
    ``reverse``  repeats them from the last to the first            2513
    ============ ================================================== =========

    Example ``i`` is a function of ``(seed, skill, i)`` and of the knobs alone: it is made when it is
    asked for, at the same cost for every ``i``.

    Args:
        tokenizer: Any torchtune tokenizer.
        skill: ``count``, ``copy``, ``sort`` or ``reverse``.
        size: Number of examples.
        seed: Seed of the examples. Two datasets of one skill need different seeds to differ.
        difficulty: Number of different symbols in use, 2 to 10. Until the skill is learned, the
            best a model can reach is a perplexity of about ``difficulty`` per symbol (less for
            ``sort``, whose answers are not uniform), so a higher one is slower to learn.
        similarity: Share of the examples in the style that all skills have in common
            (``please copy 31``: small letters, digits), 0 to 1. The others are in the skill's own
            style (``COPY LK``: capitals, and ten letters that no other skill uses as symbols).
            Datasets with a high value resemble each other in their mean hidden states, one with a
            low value resembles none.
        length: Symbols in a question, and in its answer.

    Returns:
        A dataset of ``size`` items with ``tokens`` and ``labels``; the labels of the question are
        ignored by the loss.

    Raises:
        UserError: If the skill is unknown or a knob is out of its range.

    Examples:
        >>> dataset = skill_dataset(CharTokenizer(), skill="sort", size=1000, length=5)
        >>> dataset.text(0)
        ('please sort 31312', '11233')
    """
    return SkillDataset(
        tokenizer,
        skill=skill,
        size=size,
        seed=seed,
        difficulty=difficulty,
        similarity=similarity,
        length=length,
    )
