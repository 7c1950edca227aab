# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What the benchmark consists of: questions, reference answers and the judge's instructions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mos_tune.errors import UserError

DATA_DIR = Path("data/benchmarks")
"""Where ``mos-tune prepare benchmarks`` writes by default; ours is ``mt_bench`` in it."""

CATEGORIES_WITH_REFERENCE = ("math", "reasoning", "coding")
"""Where the judge compares with a reference answer; the benchmark has one for each of these."""

_PROMPTS = {
    (1, False): "single-v1",
    (1, True): "single-math-v1",
    (2, False): "single-v1-multi-turn",
    (2, True): "single-math-v1-multi-turn",
}


@dataclass(frozen=True, kw_only=True)
class Question:
    """Two user turns, the second of which builds on the answer to the first."""

    question_id: int
    """The benchmark's number, 81 to 160."""

    category: str
    """One of eight, such as ``writing`` or ``math``."""

    turns: tuple[str, str]
    """What the user says."""


@dataclass(frozen=True, kw_only=True)
class JudgePrompt:
    """Instructions to a judge that grades one answer."""

    system: str
    """The system message."""

    template: str
    """The user message, with ``{question}`` and the like for :meth:`str.format`."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """All that judging needs besides the answers."""

    questions: list[Question]
    """In the file's order."""

    references: dict[int, tuple[str, str]]
    """Reference answers to both turns by question, for ``CATEGORIES_WITH_REFERENCE``."""

    prompts: dict[tuple[int, bool], JudgePrompt]
    """By turn (1 or 2) and by whether there is a reference answer."""


def read_questions(data_dir: Path) -> list[Question]:
    """Read ``question.jsonl``.

    Args:
        data_dir (Path): the benchmark's directory.

    Raises:
        UserError: if the file is missing, empty or not of MT-bench's form.
    """
    path = data_dir / "question.jsonl"
    questions: dict[int, Question] = {}
    for number, row in _rows(path):
        match row:
            case {"question_id": int(i), "category": str(category), "turns": [str(one), str(two)]}:
                question = Question(question_id=i, category=category, turns=(one, two))
            case _:
                raise UserError(
                    f"line {number} of {path} is not a question with question_id, category and two "
                    "turns"
                )
        if i in questions:
            raise UserError(f"{path} has question {i} twice")
        questions[i] = question
    return list(questions.values())


def read_benchmark(data_dir: Path) -> Benchmark:
    """Read questions, reference answers and judge prompts.

    Args:
        data_dir (Path): holds ``question.jsonl``, ``judge_prompts.jsonl`` and one file in
            ``reference_answer/``.

    Raises:
        UserError: if a file, a prompt or a reference answer is missing.
    """
    questions = read_questions(data_dir)
    references = _read_references(data_dir / "reference_answer")
    for question in questions:
        wanted = question.category in CATEGORIES_WITH_REFERENCE
        if wanted and question.question_id not in references:
            raise UserError(
                f"{data_dir / 'reference_answer'} has no answer to question "
                f"{question.question_id}, which is graded with one (category {question.category})"
            )
    path = data_dir / "judge_prompts.jsonl"
    rows = {row.get("name"): row for _, row in _rows(path)}
    prompts = {}
    for kind, name in _PROMPTS.items():
        match rows.get(name):
            case {"system_prompt": str(system), "prompt_template": str(template)}:
                prompts[kind] = JudgePrompt(system=system, template=template)
            case _:
                raise UserError(f"{path} has no prompt {name} with a system prompt and a template")
    return Benchmark(questions=questions, references=references, prompts=prompts)


def _read_references(directory: Path) -> dict[int, tuple[str, str]]:
    files = sorted(directory.glob("*.jsonl"))
    if len(files) != 1:
        raise UserError(
            f"{directory} has {len(files)} .jsonl files; expected one, with the reference answers"
        )
    references = {}
    for number, row in _rows(files[0]):
        match row:
            case {"question_id": int(i), "choices": [{"turns": [str(one), str(two)]}, *_]}:
                references[i] = (one, two)
            case _:
                raise UserError(f"line {number} of {files[0]} is not an answer with two turns")
    return references


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give number and content of every line."""
    if not path.is_file():
        raise UserError(
            f"{path} is missing; `mos-tune prepare benchmarks` writes it, to "
            f"{DATA_DIR / 'mt_bench'} by default"
        )
    lines = path.read_text(encoding="utf-8").split("\n")
    if not any(line.strip() for line in lines):
        raise UserError(f"{path} is empty")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"line {number} of {path} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"line {number} of {path} is no JSON object")
        yield number, row
