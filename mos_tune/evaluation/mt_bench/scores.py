# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Scores from ratings, and the table that shows them."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from mos_tune.evaluation.mt_bench.benchmark import Question


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


def scores_table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the scores as a Markdown table, two decimals, standard error of the mean last."""
    lines = ["| | turn 1 | turn 2 | mean | stderr |", "|---|---|---|---|---|"]
    for name, metrics in scores.items():
        values = [metrics[f"{metric},none"] for metric in ("turn_1", "turn_2", "mean")]
        values.append(metrics["mean_stderr,none"])
        cells = ["" if value is None else f"{value:.2f}" for value in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


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
