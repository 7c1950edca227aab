# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Damaged data files and checkpoints: one sentence with file and place, before the model loads."""

import copy
import json
import re
import shutil
from pathlib import Path

import datasets
import pytest
import torch
from helpers.checked import ModelIsLoaded, check
from helpers.runs import config, tune
from safetensors.torch import load_file, save_file

from mos_tune.errors import UserError

PAIRS = [{"input": f"q{i}", "output": f"a{i}"} for i in range(30)]
TALKS = [
    {"conversations": [{"from": "human", "value": f"q{i}"}, {"from": "gpt", "value": "a"}]}
    for i in range(30)
]
CASES = [{"instruction": f"q{i}", "input": "<noinput>", "output": "a"} for i in range(30)]
INSTRUCT = {"_component_": "torchtune.datasets.instruct_dataset", "split": "train"}
SHAREGPT = {"_component_": "mos_tune.datasets.sharegpt_dataset"}
MEDINSTRUCT = {"_component_": "mos_tune.datasets.med_instruct_dataset"}


def lines(rows):
    return [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]


def file_of(rows):
    return b"\n".join(lines(rows)) + b"\n"


def sixth(row, rows=PAIRS):
    return file_of([*rows[:5], row, *rows[6:]])


def every(row):
    return file_of([row] * 30)


def turns(*pairs):
    return {"conversations": [{"from": role, "value": text} for role, text in pairs]}


BAD = {
    "broken UTF-8": (sixth(b'{"input": "\xff", "output": "a"}'), "line 6 of FILE is not UTF-8"),
    "UTF-16": (file_of(PAIRS).decode().encode("utf-16"), "line 1 of FILE is not UTF-8"),
    "half a character": (sixth({"input": "\ud83d", "output": "a"}), "line 6 of FILE is no text"),
    "no text at all": (bytes(range(256)) * 20, "line 1 of FILE is not valid JSON"),
    "zero bytes": (sixth(b"\0\0\0"), "line 6 of FILE is not valid JSON: .* at column 1"),
    "the last line is cut off": (
        file_of(PAIRS)[:-9],
        "line 30 of FILE is not valid JSON: Expecting ':' delimiter at column 26",
    ),
    "a line in the middle is cut off": (
        sixth(b'{"input": "q5", "outp'),
        "line 6 of FILE is not valid JSON: Unterminated string starting at column 17",
    ),
    "an array is cut off": (json.dumps(PAIRS).encode()[:-9], "FILE is not valid JSON: .* line 1"),
    "rows without names": (sixth(b'["q", "a"]'), "line 6 of FILE holds list, expected an object"),
    "numbers": (every(3), "line 1 of FILE holds int, expected an object"),
    "an empty file": (b"", "FILE is empty"),
    "blank lines": (b"\n\n  \n", "FILE holds blank lines only"),
    "no column": (
        every({"question": "q", "output": "a"}),
        "example 0 cannot be read: KeyError: 'input'; its row is {'question': .* 30 of 30 cannot",
    ),
    "a row without the column": (
        sixth({"input": "q"}),
        "example 5 cannot be read: .*NoneType.* its row is {'input': 'q', 'output': None}",
    ),
    "a number as answer": (
        sixth({"input": "q", "output": 3}),
        "example 5 cannot be read: .*int.* its row is {'input': 'q', 'output': 3}",
    ),
    "a null as prompt": (sixth({"input": None, "output": "a"}), "example 5 cannot be read: .*None"),
    "a section as answer": (
        sixth({"input": "q", "output": {"text": "a"}}),
        r"example 5 cannot be read: .*dict.* its row is .*{'text': 'a'}",
    ),
    "a nan as prompt": (sixth(b'{"input": NaN, "output": "a"}'), "example 5 cannot be read"),
    "two bad rows": (file_of([*PAIRS, *[{"input": None, "output": "a"}] * 2]), "; 2 of 32 cannot"),
    "empty answers": (every({"input": "q", "output": ""}), r"none .* \(a blank answer: 30\)"),
    "prompts that fill the length": (
        every({"input": "q" * 99, "output": "a"}),
        r"none of its 30 examples can be trained on \(no response token.*max_seq_len: 30\)",
    ),
    "conversations of text": (
        every({"conversations": "hello"}),
        "example 0 cannot be read: .*conversations is 'hello', expected a list",
        SHAREGPT,
    ),
    "turns of text": (
        every({"conversations": ["hello"]}),
        "example 0 cannot be read: .*a turn is 'hello', expected from and value",
        SHAREGPT,
    ),
    "turns of numbers": (
        every(turns(("human", 1), ("gpt", 2))),
        "example 0 cannot be read: .*the value of a turn is 1, expected text",
        SHAREGPT,
    ),
    "no conversations": (every({"talk": []}), "there is no column conversations", SHAREGPT),
    "no usable conversation": (
        every(turns(("human", "q"), ("tool", "a"))),
        r"none of its 30 examples .*\(unknown role 'tool': 30\)",
        SHAREGPT,
    ),
    "an instruction as a number": (
        every({"instruction": 1, "input": "", "output": "a"}),
        "example 0 cannot be read: .*instruction is 1, expected text",
        MEDINSTRUCT,
    ),
    "instructions without input": (
        every({"instruction": "q"}),
        "there is no column input",
        MEDINSTRUCT,
    ),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return config(tmp_path_factory.mktemp("base"))


@pytest.fixture
def settings(base, tmp_path):
    return copy.deepcopy(base) | {"output_dir": str(tmp_path / "run")}


def with_data(settings, path, builder=INSTRUCT):
    settings["dataset"]["copy"] = {**builder, "source": "json", "data_files": str(path)}
    return settings


def refused(settings):
    """Check the config, which must leave nothing behind, and give the one sentence."""
    with pytest.raises(UserError) as caught:
        check(settings)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert not list(Path(settings["output_dir"]).glob("*"))
    return message


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_damaged_file_is_named_with_the_place(settings, tmp_path, case):
    content, expected, *builder = case
    path = tmp_path / "copy.jsonl"
    path.write_bytes(content)
    message = refused(with_data(settings, path, *builder))
    assert message.startswith("dataset.copy: ") and str(path) in message
    assert re.search(expected.replace("FILE", re.escape(str(path))), message), message


def loop(path):
    path.symlink_to(path)


def nothing(path):
    pass


def dangling(path):
    path.symlink_to(path.with_name("gone"))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (nothing, "does not exist"),
        (Path.mkdir, "is a folder, expected a file"),
        (loop, "is a symbolic link that leads nowhere"),
        (dangling, "is a symbolic link that leads nowhere"),
    ],
)
def test_what_is_no_file_is_named(settings, tmp_path, make, expected):
    path = tmp_path / "copy.jsonl"
    make(path)
    assert refused(with_data(settings, path)) == f"dataset.copy: {path} {expected}"


def test_a_name_that_is_a_pattern_is_explained(settings, tmp_path):
    path = tmp_path / "copy [1].jsonl"
    path.write_bytes(file_of(PAIRS))
    assert "which make it a pattern" in refused(with_data(settings, path))
    path.unlink()
    assert f"no file matches {path}" in refused(with_data(settings, path))


def test_a_file_that_is_not_json_lines_inside_is_named(settings, tmp_path):
    path = tmp_path / "copy.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\x08broken" * 50)
    assert refused(with_data(settings, path)).endswith(f"; dataset.copy.data_files: {path}")


SKIPPED = {
    "torchtune's builder": (
        INSTRUCT,
        [
            *PAIRS,
            {"input": "q", "output": ""},
            {"input": "q", "output": ""},
            {"input": "q" * 99, "output": "a"},
        ],
        "3 of 33 left out (a blank answer: 2, no response token",
    ),
    "sharegpt": (
        SHAREGPT,
        [*TALKS, turns(("human", "q")), turns(("human", "q"), ("gpt", None)), turns()],
        "3 of 33 left out (no question with an answer: 2, a turn without from or value: 1)",
    ),
    "medinstruct": (
        MEDINSTRUCT,
        [*CASES, CASES[0] | {"output": None}, CASES[0] | {"instruction": " "}],
        "2 of 32 left out (a blank answer: 1, a blank prompt: 1)",
    ),
}


@pytest.mark.parametrize(("builder", "rows", "said"), SKIPPED.values(), ids=SKIPPED.keys())
def test_rows_without_an_answer_are_left_out_and_counted(
    settings, tmp_path, caplog, builder, rows, said
):
    path = tmp_path / "copy.jsonl"
    path.write_bytes(file_of(rows))
    with pytest.raises(ModelIsLoaded):
        check(with_data(settings, path, builder))
    (line,) = [line for line in caplog.messages if "left out" in line]
    assert line.startswith(f"dataset.copy: 30 examples, {said}")


@pytest.mark.parametrize("name", ["empty prompt", "byte order mark", "blank line", "12 MB line"])
def test_what_is_unusual_but_whole_is_trained_on(settings, tmp_path, name):
    contents = {
        "empty prompt": sixth({"input": "", "output": "a"}),
        "byte order mark": b"\xef\xbb\xbf" + file_of(PAIRS),
        "blank line": sixth(b""),
        # Longer than the blocks in which datasets reads, and cut off by max_seq_len.
        "12 MB line": sixth({"input": "q", "output": "a" * 12_000_000}),
    }
    folder = tmp_path / "données 数据 & co"
    folder.mkdir()
    path = folder / f"{name} ä.jsonl"
    path.write_bytes(contents[name])
    with pytest.raises(ModelIsLoaded):
        check(with_data(settings, path))


@pytest.mark.parametrize(
    ("name", "damage", "key"),
    [
        ("model.safetensors", lambda data: data[:-100], "checkpointer.checkpoint_files"),
        ("model.safetensors", lambda data: b"", "checkpointer.checkpoint_files"),
        ("model.safetensors", lambda data: b"\xff" * 999, "checkpointer.checkpoint_files"),
        ("config.json", lambda data: data[:50], "checkpointer.checkpoint_dir"),
        ("config.json", lambda data: b"[1]", "checkpointer.checkpoint_dir"),
    ],
)
def test_a_damaged_base_checkpoint_is_named(settings, tmp_path, name, damage, key):
    folder = tmp_path / "base"
    shutil.copytree(settings["checkpointer"]["checkpoint_dir"], folder)
    settings["checkpointer"]["checkpoint_dir"] = str(folder)
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    assert refused(settings).startswith(f"{key}: {folder / name} is damaged: ")


@pytest.mark.parametrize("make", [loop, lambda path: path.write_text("")])
def test_an_output_dir_that_is_none_is_named(settings, make):
    path = Path(settings["output_dir"])
    make(path)
    with pytest.raises(UserError, match=f"output_dir {path} cannot be written: "):
        check(settings)


def said(run):
    return re.findall(r"mos-tune stopped: (.*)", run.output)


def test_a_bad_row_is_said_once_by_two_processes(settings, tmp_path):
    path = tmp_path / "copy.jsonl"
    path.write_bytes(sixth({"input": "q", "output": None}))
    run = tune(with_data(settings, path), ok=False)
    assert run.code != 0
    (message,) = said(run)
    assert message.startswith("dataset.copy: example 5 cannot be read: TypeError")
    assert "mos_tune/" not in run.output
    assert not list(run.directory.glob("*"))


def test_nan_weights_stop_the_run_and_a_later_one_starts_afresh(settings, tmp_path):
    settings["checkpoint"] = {"every_n_steps": 2, "keep_last": 1}
    settings |= {"resume_from_checkpoint": True, "max_steps_per_epoch": 2}
    settings["output_dir"] = str(tmp_path / "Läufe 1" / "run")
    Path(settings["output_dir"]).parent.mkdir()
    folder = tmp_path / "modèle de base"
    shutil.copytree(settings["checkpointer"]["checkpoint_dir"], folder)
    settings["checkpointer"]["checkpoint_dir"] = str(folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    whole = {name: weight.clone() for name, weight in weights.items()}
    weights["model.layers.1.mlp.up_proj.weight"][-1, -1] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    run = tune(settings, ok=False)
    assert run.code != 0
    (message,) = said(run)
    assert (
        message == "checkpointer: the base model's weight layers.1.mlp.w3.weight holds nan or inf"
    )
    assert not (run.directory / "mixture.jsonl").exists()
    save_file(whole, file, metadata={"format": "pt"})
    data = tmp_path / "données 数据.jsonl"
    data.write_bytes(file_of([*PAIRS, {"input": "q", "output": ""}]))
    run = tune(with_data(settings, data))
    assert run.output.count("dataset.copy: 30 examples, 1 of 31 left out (a blank answer: 1)") == 1
    assert run.events("start")[0]["sizes"]["copy"] == 27
    assert run.events("end") and (run.directory / "checkpoints" / "step_2").is_dir()
