# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Finds training examples that also stand in an evaluation set."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from mos_tune.prepare.examples import Example

_WORD = re.compile(r"[^\W_]+")


class EvaluationQuestions:
    """The questions that no training example may hold.

    Texts are compared word by word: capitals, spaces, punctuation and LaTeX signs do not count.
    An example is contaminated if one of its ``questions`` is an evaluation question, or if an
    evaluation question of at least 13 words stands anywhere in its prompt. Shorter ones are
    not searched for inside prompts, because phrases like "which of the following is true" are
    everybody's; 13 words is the usual length for this (Brown et al. 2020, arXiv 2005.14165,
    appendix C).

    Args:
        sets: The questions of each evaluation set. A question that stands in several counts
            for the first.
    """

    _WINDOW = 13

    def __init__(self, sets: Mapping[str, Iterable[str]]) -> None:
        self._exact: dict[tuple[str, ...], str] = {}
        for name, questions in sets.items():
            for question in questions:
                self._exact.setdefault(_words(question), name)
        self._exact.pop((), None)
        self._by_beginning = defaultdict(list)
        for words in self._exact:
            if len(words) >= self._WINDOW:
                self._by_beginning[words[: self._WINDOW]].append(words)

    def __len__(self) -> int:
        """Returns the number of different questions."""
        return len(self._exact)

    def find(self, example: Example) -> str | None:
        """Returns the name of the evaluation set that an example stands in, or None."""
        for question in example.questions:
            name = self._exact.get(_words(question))
            if name is not None:
                return name
        words = _words(example.input)
        for start in range(len(words) - self._WINDOW + 1):
            for question_words in self._by_beginning.get(words[start : start + self._WINDOW], ()):
                if words[start : start + len(question_words)] == question_words:
                    return self._exact[question_words]
        return None


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))
