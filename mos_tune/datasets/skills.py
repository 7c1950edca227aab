# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Made-up skills: datasets generated from a seed, whose difficulty and likeness are known."""

import string
from collections.abc import Callable
from dataclasses import dataclass

from torchtune.modules.transforms.tokenizers import ModelTokenizer

from mos_tune.datasets.rows import RowsDataset, prompt_and_response
from mos_tune.errors import UserError, check_whole, is_number
from mos_tune.mixture.randomness import counter_based_rng

MAX_DIFFICULTY = 10
SHARED_SYMBOLS = string.digits
LETTERS = string.ascii_uppercase + string.ascii_lowercase

# From a question's symbols, as numbers below the difficulty, to its answer's.
SKILLS: dict[str, Callable[[list[int], int], list[int]]] = {
    "count": lambda values, base: [(values[-1] + k) % base for k in range(1, len(values) + 1)],
    "copy": lambda values, base: values,
    "sort": lambda values, base: sorted(values),
    "reverse": lambda values, base: values[::-1],
}


@dataclass(frozen=True, kw_only=True)
class SkillExamples:
    """Questions and answers of one skill, made when asked for; see :func:`skill_dataset`."""

    skill: str
    size: int
    seed: int = 0
    difficulty: int = MAX_DIFFICULTY
    similarity: float = 1.0
    length: int = 8

    def __post_init__(self) -> None:
        """Check every knob."""
        if self.skill not in SKILLS:
            raise UserError(f"skill must be one of {', '.join(SKILLS)}, got {self.skill!r}")
        check_whole("seed", self.seed, 0)
        for key, low, high in (
            ("size", 1, None),
            ("difficulty", 2, MAX_DIFFICULTY),
            ("similarity", 0, 1),
            ("length", 1, None),
        ):
            value = getattr(self, key)
            known = is_number(value) and (key == "similarity" or isinstance(value, int))
            if not known or value < low or (high is not None and value > high):
                wanted = f"at least {low}" if high is None else f"from {low} to {high}"
                raise UserError(
                    f"{key} of the dataset of skill {self.skill} must be {wanted}, got {value!r}"
                )

    def __len__(self) -> int:
        """Count the examples."""
        return self.size

    def __getitem__(self, index: int) -> dict[str, str]:
        """Make the ``question`` and the ``answer`` of one example."""
        if not 0 <= index < self.size:
            raise IndexError(f"skill {self.skill} has {self.size} examples, got index {index}")
        rng = counter_based_rng(self.seed, "skill", self.skill, index)
        if rng.random() < self.similarity:
            command, symbols = f"please {self.skill}", SHARED_SYMBOLS
        else:
            first = MAX_DIFFICULTY * list(SKILLS).index(self.skill)
            command, symbols = self.skill.upper(), LETTERS[first : first + MAX_DIFFICULTY]
        values = rng.integers(self.difficulty, size=self.length).tolist()
        question = "".join(symbols[value] for value in values)
        answer = "".join(symbols[v] for v in SKILLS[self.skill](values, self.difficulty))
        return {"question": f"{command} {question}", "answer": answer}


def skill_dataset(
    tokenizer: ModelTokenizer,
    *,
    skill: str,
    size: int,
    seed: int = 0,
    difficulty: int = MAX_DIFFICULTY,
    similarity: float = 1.0,
    length: int = 8,
) -> RowsDataset:
    """Build a dataset of one made-up skill; it needs no file and no download.

    A question is a command and a row of random symbols, and the answer is a row as long. From the
    quickest skill to the slowest, as a tiny model learns them:

    =========== =================================================== ===================
    ``skill``   the answer                                          to 3152
    =========== =================================================== ===================
    ``count``   counts on from the last symbol; the first follows   3456
                the last
    ``copy``    repeats the row                                     3152
    ``sort``    puts the row in order                               1235
    ``reverse`` repeats the row from its end                        2513
    =========== =================================================== ===================

    Example ``i`` is a function of ``(seed, skill, i)`` and the knobs, and costs the same for every
    ``i``.

    Args:
        tokenizer (ModelTokenizer): any torchtune tokenizer.
        skill (str): ``count``, ``copy``, ``sort`` or ``reverse``.
        size (int): number of examples.
        seed (int): seed of the examples. Two datasets of one skill need two seeds to differ.
            Default 0, and not the run's seed, so that runs with several seeds train on the same
            examples.
        difficulty (int): number of different symbols, 2 to 10. A model that has learned the symbols
            but not the skill has a perplexity of ``difficulty`` per symbol (less in ``sort``, whose
            answers are not uniform): the higher, the slower to learn. Default 10.
        similarity (float): share of the examples in the style that all skills have in common
            (``please copy 4096``), 0 to 1. The rest is in the skill's own style (``COPY OKTQ``,
            with ten letters that stand for numbers in no other skill). Datasets of high similarity
            resemble each other in their mean hidden states; one of low similarity resembles none.
            Default 1.0.
        length (int): symbols in a question, and in its answer. Default 8.

    Returns:
        RowsDataset: ``size`` items with ``tokens`` and ``labels``; a question's labels are ignored
        by the loss.

    Raises:
        UserError: if the skill is unknown or a knob is out of its range.

    Example:
        >>> SkillExamples(skill="sort", size=1000, length=4)[0]
        {'question': 'please sort 6969', 'answer': '6699'}
    """
    examples = SkillExamples(
        skill=skill,
        size=size,
        seed=seed,
        difficulty=difficulty,
        similarity=similarity,
        length=length,
    )
    return RowsDataset(
        examples, lambda row: prompt_and_response(row["question"], row["answer"]), tokenizer
    )
