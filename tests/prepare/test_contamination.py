# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest

from mos_tune.prepare.contamination import EvaluationQuestions
from mos_tune.prepare.examples import Example

LONG = "A train leaves the station at nine and another one leaves it at ten: when do they meet?"
SHORT = "Which of the following is true?"


@pytest.fixture
def evaluation() -> EvaluationQuestions:
    return EvaluationQuestions({"first": [LONG, "Find $x^2$."], "second": [SHORT, LONG, "???"]})


def example(prompt: str, *questions: str) -> Example:
    return Example(prompt, "answer", questions or (prompt,))


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        (LONG, "first"),
        (SHORT, "second"),
        ("find   X ^ {2}", "first"),
        (f"Think step by step. {LONG.upper()} Answer:", "first"),
        (f"{SHORT} The earth is flat, or round.", None),
        (LONG.replace("ten", "eleven"), None),
        (" ".join(LONG.split()[:-1]), None),
        ("!!!", None),
        ("", None),
    ],
)
def test_find(evaluation: EvaluationQuestions, prompt: str, found: str | None) -> None:
    assert evaluation.find(example(prompt)) == found


def test_the_question_behind_a_prompt_counts(evaluation: EvaluationQuestions) -> None:
    assert evaluation.find(example(f"{SHORT}\nA. yes\nB. no", SHORT)) == "second"


def test_questions_are_counted_once(evaluation: EvaluationQuestions) -> None:
    assert len(evaluation) == 3
