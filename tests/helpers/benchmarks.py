# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
from pathlib import Path

from mos_tune.evaluation.mmlu import SUBJECTS
from mos_tune.prepare.sources import SUBJECTS as MATH_SUBJECTS

LETTER = 1
"""Position of the choice that :func:`mmlu_answers` counts as right."""


def mmlu_answers(subject: str) -> list[int]:
    """The right choices of a subject's two, three or four questions; the first is ``LETTER``."""
    return [LETTER, 0, LETTER, LETTER][: 2 + SUBJECTS.index(subject) % 3]


def write_benchmarks(directory: Path) -> Path:
    """A directory like that of ``mos-tune prepare benchmarks``, with a few made-up rows each."""
    for subject in SUBJECTS:
        answers = mmlu_answers(subject)
        _write(directory / f"mmlu/{subject}/test.jsonl", [_mmlu(subject, a) for a in answers])
        _write(directory / f"mmlu/{subject}/dev.jsonl", [_mmlu(f"dev {subject}", 2)] * 5)
    gsm8k = {"question": "How many are 1 and 1?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}
    _write(directory / "gsm8k/test.jsonl", [gsm8k, {**gsm8k, "answer": "3\n#### 3"}])
    for subject in MATH_SUBJECTS:
        problem = {"problem": f"Find $x$ ({subject}).", "level": "Level 1", "type": subject}
        _write(directory / f"math/{subject}/test.jsonl", [{**problem, "solution": "$\\boxed{2}$"}])
    return directory


def _mmlu(subject: str, answer: int) -> dict:
    choices = [f"{subject} {letter}" for letter in "wxyz"]
    question = f" Which {subject} choice is {answer}? "
    return {"question": question, "subject": subject, "choices": choices, "answer": answer}


def _write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
