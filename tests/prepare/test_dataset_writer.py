# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
from pathlib import Path

from datasets import load_dataset

from mos_tune.prepare.contamination import EvaluationQuestions
from mos_tune.prepare.dataset_writer import read_counts, write_dataset
from mos_tune.prepare.examples import Example, Skipped


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
