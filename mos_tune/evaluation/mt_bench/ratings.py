# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What the judge is asked, how its rating is read, and the scores that ratings give."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.benchmark import (
    CATEGORIES_WITH_REFERENCE,
    Benchmark,
    JudgePrompt,
    Question,
)

# The benchmark's own rule takes any number in single brackets too, and with it the index in a
# quoted `rows[1]`; here such a number counts only on a line that speaks of a rating.
_RATING = re.compile(r"\[\[(\d+(?:\.\d*)?)\]\]")
_RATING_IN_SINGLE_BRACKETS = re.compile(r"(?i)\brating\b[^\n\[]*\[(\d+(?:\.\d*)?)\]")


@dataclass(frozen=True, kw_only=True)
class JudgeRequest:
    """One answer to be graded."""

    question: Question
    """The question it answers."""

    turn: int
    """Which of the two answers: 1 or 2."""

    messages: tuple[dict[str, str], ...]
    """System and user message for the judge."""

    def key(self, judge: str) -> str:
        """Give the name of the judgement: a hash of the judge's name and of all that it reads."""
        asked = json.dumps([judge, *self.messages], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()


def judge_requests(
    benchmark: Benchmark, answers: Mapping[int, tuple[str, str]]
) -> list[JudgeRequest]:
    """Write what the judge is asked about every answer, one request for each turn.

    Args:
        benchmark (Benchmark): questions, references and prompts.
        answers (Mapping[int, tuple[str, str]]): the model's two answers by question.

    Raises:
        UserError: if a prompt of the benchmark asks for something it does not have.
    """
    return [
        JudgeRequest(
            question=question,
            turn=turn,
            messages=_messages(benchmark, question, turn, answers[question.question_id]),
        )
        for question in benchmark.questions
        for turn in (1, 2)
    ]


def parse_rating(judgement: str) -> float | None:
    """Read the rating from a judge's reply.

    Args:
        judgement (str): the reply, which holds ``[[7]]`` or, on a line with the word "rating",
            ``[7]``. Of several the first counts, as in the benchmark's own code.

    Returns:
        float | None: 1 to 10, or None if there is no such number.
    """
    found = _RATING.search(judgement) or _RATING_IN_SINGLE_BRACKETS.search(judgement)
    if found is None:
        return None
    rating = float(found.group(1))
    return rating if 1.0 <= rating <= 10.0 else None


def mt_bench_scores(
    questions: Sequence[Question], ratings: Mapping[tuple[int, int], float]
) -> dict[str, dict[str, float | None]]:
    """Average the ratings.

    Args:
        questions (Sequence[Question]): all questions.
        ratings (Mapping[tuple[int, int], float]): the rating, 1 to 10, of every question's turn 1
            and turn 2, by question and turn.

    Returns:
        dict[str, dict[str, float | None]]: for ``mt_bench`` and for ``mt_bench_<category>`` in the
        order of the questions: ``turn_1``, ``turn_2`` and ``mean`` (of both turns), unweighted, and
        their standard errors over the questions, null where there is one question.

    Raises:
        KeyError: if a rating is missing; there is no score of a part of the benchmark.
    """
    groups = {"mt_bench": list(questions)}
    for question in questions:
        groups.setdefault(f"mt_bench_{question.category}", []).append(question)
    return {
        name: _metrics(
            [
                (ratings[question.question_id, 1], ratings[question.question_id, 2])
                for question in group
            ]
        )
        for name, group in groups.items()
    }


def _messages(
    benchmark: Benchmark, question: Question, turn: int, answers: tuple[str, str]
) -> tuple[dict[str, str], ...]:
    with_reference = question.category in CATEGORIES_WITH_REFERENCE
    prompt = benchmark.prompts[turn, with_reference]
    fields = {
        "question": question.turns[0],
        "answer": answers[0],
        "question_1": question.turns[0],
        "question_2": question.turns[1],
        "answer_1": answers[0],
        "answer_2": answers[1],
    }
    if with_reference:
        first, second = benchmark.references[question.question_id]
        fields |= {"ref_answer_1": first, "ref_answer_2": second}
    return (
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": _fill(prompt, fields)},
    )


def _fill(prompt: JudgePrompt, fields: Mapping[str, str]) -> str:
    try:
        return prompt.template.format_map(fields)
    except (LookupError, ValueError, AttributeError) as error:
        raise UserError(
            f"judge_prompts.jsonl has a template that cannot be filled in ({error!r}); "
            f"known fields are {', '.join(fields)}: {prompt.template[:60]!r}"
        ) from error


def _metrics(pairs: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    columns = {
        "turn_1": [first for first, _ in pairs],
        "turn_2": [second for _, second in pairs],
        "mean": [(first + second) / 2 for first, second in pairs],
    }
    metrics: dict[str, float | None] = {}
    for name, values in columns.items():
        error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
        metrics |= {f"{name},none": mean(values), f"{name}_stderr,none": error}
    return metrics
