# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from mos_tune.prepare.dataset import (
    Counts,
    EvaluationQuestions,
    Example,
    Skipped,
    format_counts,
    read_counts,
    write_dataset,
)

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


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def examples(count: int) -> list[Example | Skipped]:
    return [Example(f"question {i}", f"answer {i}", (f"question {i}",)) for i in range(count)]


def write(records: list[Example | Skipped], directory: Path):
    directory.mkdir(parents=True)
    return write_dataset(records, EvaluationQuestions({"quiz": ["Question 7!"]}), directory)


def test_counts_add_up_and_nothing_is_in_both_parts(tmp_path: Path) -> None:
    again = Example("question \n 3", "another answer", ())
    records = [*examples(101), again, Skipped("cut off"), Skipped("cut off"), Skipped("empty")]
    counts = write(records, tmp_path / "d")
    train, held_out = rows(tmp_path / "d/train.jsonl"), rows(tmp_path / "d/heldout.jsonl")
    assert (counts.read, counts.train, counts.held_out) == (105, 95, 5)
    assert counts.skipped == {"cut off": 2, "empty": 1}
    assert (counts.contaminated, counts.duplicates) == ({"quiz": 1}, 1)
    assert (len(train), len(held_out)) == (95, 5)
    kept = {f"question {i}": f"answer {i}" for i in range(101) if i != 7}
    assert {row["input"]: row["output"] for row in train + held_out} == kept
    files = [tmp_path / "d/train.jsonl", tmp_path / "d/heldout.jsonl"]
    assert counts.bytes == sum(file.stat().st_size for file in files)
    assert read_counts(tmp_path / "d") == counts


def test_split_depends_on_the_examples_alone(tmp_path: Path) -> None:
    write(examples(100), tmp_path / "a")
    write(examples(100)[::-1], tmp_path / "b")
    write(examples(90), tmp_path / "c")
    for name in ("train.jsonl", "heldout.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    # With fewer examples the held-out part stays within the one of before.
    fewer = [row["input"] for row in rows(tmp_path / "c/heldout.jsonl")]
    order = [row["input"] for row in rows(tmp_path / "a/heldout.jsonl")]
    order += [row["input"] for row in rows(tmp_path / "a/train.jsonl")]
    assert fewer == [text for text in order if int(text.split()[1]) < 90][: len(fewer)]


def test_held_out_part_is_capped(tmp_path: Path) -> None:
    counts = write(examples(12_001), tmp_path / "d")
    assert (counts.train, counts.held_out) == (11_500, 500)


def test_files_are_read_by_datasets(tmp_path: Path) -> None:
    odd = 'two\nlines \u2028 and \u0085 "quotes" 世界 🙂'
    write([Example(odd, odd[::-1], ()), *examples(20)], tmp_path / "d")
    paths = [str(tmp_path / "d" / name) for name in ("train.jsonl", "heldout.jsonl")]
    dataset = load_dataset("json", data_files=paths, split="train", cache_dir=str(tmp_path / "c"))
    assert len(dataset) == 20
    assert {"input": odd, "output": odd[::-1]} in list(dataset)


def test_table_lines_up() -> None:
    counts = Counts(read=12345, skipped={"cut off": 1}, train=12000, held_out=344, bytes=3 << 20)
    lines = format_counts({"mathematics": counts, "x": Counts()}).splitlines()
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[1].split() == ["mathematics", "12,345", "1", "0", "0", "12,000", "344", "3.0"]
    assert lines[3:] == ["mathematics: dropped 1 cut off"]
