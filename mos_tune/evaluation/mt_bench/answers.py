# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The model's answers: a journal in the form that FastChat's tools read too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.benchmark import Question
from mos_tune.journal import Journal

FILE_NAME = "mt_bench_answers.jsonl"


class Answers:
    """Answers of one checkpoint, given with one set of settings.

    A line is ``{"question_id": 81, "model_id": the run's name, "choices": [{"index": 0, "turns":
    [first answer, second answer]}], "origin": {...}}``.

    Args:
        journal (Journal): the open file.

    Attributes:
        by_question (dict[int, tuple[str, str]]): both answers by question.
        origin (dict[str, Any] | None): what the file's answers come from: ``name``,
            ``checkpoint``, ``mixture`` and ``generation``; None if there is no answer yet.

    Raises:
        UserError: if a line is no such answer, or the lines have more than one origin.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.by_question: dict[int, tuple[str, str]] = {}
        self.origin: dict[str, Any] | None = None
        for number, record in enumerate(journal.records, 1):
            match record:
                case {
                    "question_id": int(question),
                    "choices": [{"turns": [str(one), str(two)]}],
                    "origin": {"name": str(), "checkpoint": {"fingerprint": str()}} as origin,
                }:
                    self.check_origin(origin)
                    self.origin = origin
                    self.by_question[question] = (one, two)
                case _:
                    raise UserError(f"answer {number} in {journal.path} is not one of mos-tune's")

    @property
    def path(self) -> Path:
        """The file."""
        return self._journal.path

    def check_origin(self, origin: Mapping[str, Any]) -> None:
        """Make sure that answers of this origin may stand beside those in the file.

        Raises:
            UserError: if they come from other weights or settings.
        """
        if self.origin is None:
            return
        for name, mine, theirs in (
            ("weights", _fingerprint(origin), _fingerprint(self.origin)),
            ("generation settings", origin.get("generation"), self.origin.get("generation")),
        ):
            if mine != theirs:
                raise UserError(
                    f"{self.path} holds answers with other {name}: {theirs}, not {mine}; delete or "
                    "rename it to have all questions answered anew"
                )

    def missing(self, questions: Sequence[Question]) -> list[Question]:
        """Give the questions that have no answer yet, in their order."""
        return [question for question in questions if question.question_id not in self.by_question]

    def add(self, question: Question, turns: tuple[str, str], origin: dict[str, Any]) -> None:
        """Write the answers to one question; they are on the disk afterwards."""
        self._journal.append(
            {
                "question_id": question.question_id,
                "model_id": origin["name"],
                "choices": [{"index": 0, "turns": list(turns)}],
                "origin": origin,
            }
        )
        self.origin = origin
        self.by_question[question.question_id] = turns


def _fingerprint(origin: Mapping[str, Any]) -> Any:
    return origin["checkpoint"]["fingerprint"]
