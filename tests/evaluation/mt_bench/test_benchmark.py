# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Reading the benchmark's files."""

from pathlib import Path

import pytest
from helpers.mt_bench_files import CATEGORIES, write_benchmark, write_lines

from mos_tune.errors import UserError
from mos_tune.evaluation.mt_bench.benchmark import read_benchmark, read_questions


def test_reads_questions_references_and_prompts(tmp_path: Path) -> None:
    benchmark = read_benchmark(write_benchmark(tmp_path / "data"))
    assert {q.question_id: q.category for q in benchmark.questions} == CATEGORIES
    assert benchmark.questions[1].turns == ("first-82?", "second-82?")
    assert benchmark.references[83] == ("ref-one-83", "ref-two-83")
    assert benchmark.prompts[2, True].system == "system of single-math-v1-multi-turn"
    assert set(benchmark.prompts) == {(1, False), (1, True), (2, False), (2, True)}


@pytest.mark.parametrize("name", ["question.jsonl", "judge_prompts.jsonl"])
def test_missing_and_empty_files_are_named(tmp_path: Path, name: str) -> None:
    directory = write_benchmark(tmp_path / "data")
    (directory / name).write_text("\n")
    with pytest.raises(UserError, match=f"{name} is empty"):
        read_benchmark(directory)
    (directory / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        read_benchmark(directory)


def test_a_missing_reference_answer_is_no_reason_to_grade_without(tmp_path: Path) -> None:
    directory = write_benchmark(tmp_path / "data")
    choices = [{"index": 0, "turns": ["one", "two"]}]
    path = directory / "reference_answer" / "gpt-4.jsonl"
    write_lines(path, [{"question_id": 82, "choices": choices}])
    with pytest.raises(UserError, match="no answer to question 83"):
        read_benchmark(directory)
    path.rename(directory / "gpt-4.jsonl")
    with pytest.raises(UserError, match="has 0 .jsonl files; expected one"):
        read_benchmark(directory)


@pytest.mark.parametrize(
    "row",
    [
        {"question_id": 81, "category": "writing", "turns": ["one"]},
        {"question_id": "81", "category": "writing", "turns": ["one", "two"]},
        {"question_id": 81, "turns": ["one", "two"]},
    ],
)
def test_a_question_of_another_form(tmp_path: Path, row: dict[str, object]) -> None:
    write_lines(tmp_path / "question.jsonl", [row])
    with pytest.raises(UserError, match="line 1 of .*question.jsonl is not a question"):
        read_questions(tmp_path)


def test_a_question_twice(tmp_path: Path) -> None:
    row = {"question_id": 81, "category": "writing", "turns": ["one", "two"]}
    write_lines(tmp_path / "question.jsonl", [row, row])
    with pytest.raises(UserError, match="question 81 twice"):
        read_questions(tmp_path)
