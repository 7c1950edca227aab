# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A benchmark of MT-bench's form with made-up questions, and answers to it."""

import json
from pathlib import Path
from typing import Any

from mos_tune.evaluation.mt_bench.answers import Answers
from mos_tune.evaluation.mt_bench.benchmark import read_questions
from mos_tune.journal import Journal

CATEGORIES = {81: "writing", 82: "math", 83: "coding", 84: "stem"}
ORIGIN = {
    "name": "tiny",
    "checkpoint": {"dir": "epoch_0", "fingerprint": "5f0c", "step": 40},
    "mixture": None,
    "generation": {"seed": 0, "max_new_tokens": 8},
}
_TEMPLATES = {
    "single-v1": "Q {question} A {answer}",
    "single-math-v1": "Q {question} REF {ref_answer_1} A {answer}",
    "single-v1-multi-turn": "Q1 {question_1} A1 {answer_1} Q2 {question_2} A2 {answer_2}",
    "single-math-v1-multi-turn": "Q1 {question_1} R1 {ref_answer_1} Q2 {question_2} "
    "R2 {ref_answer_2} A1 {answer_1} A2 {answer_2}",
}


def write_benchmark(directory: Path) -> Path:
    """Four questions, two of them graded with a reference answer."""
    (directory / "reference_answer").mkdir(parents=True)
    questions = [
        {"question_id": i, "category": category, "turns": [f"first-{i}?", f"second-{i}?"]}
        for i, category in CATEGORIES.items()
    ]
    write_lines(directory / "question.jsonl", questions)
    references = [
        {"question_id": i, "choices": [{"index": 0, "turns": [f"ref-one-{i}", f"ref-two-{i}"]}]}
        for i in (82, 83)
    ]
    write_lines(directory / "reference_answer" / "gpt-4.jsonl", references)
    prompts = [
        {"name": name, "system_prompt": f"system of {name}", "prompt_template": template}
        for name, template in _TEMPLATES.items()
    ]
    write_lines(directory / "judge_prompts.jsonl", prompts)
    return directory


def write_answers(path: Path, data_dir: Path, word: str = "answer") -> Path:
    """An answers.jsonl with both answers to every question of ``data_dir``."""
    with Journal(path) as journal:
        answers = Answers(journal)
        for question in read_questions(data_dir):
            i = question.question_id
            answers.add(question, (f"{word}-one-{i}", f"{word}-two-{i}"), ORIGIN)
    return path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
