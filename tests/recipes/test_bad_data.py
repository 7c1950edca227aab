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
CHATS = [
    {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]}
    for i in range(30)
]
CASES = [{"instruction": f"q{i}", "input": "<noinput>", "output": "a"} for i in range(30)]
INSTRUCT = {"_component_": "torchtune.datasets.instruct_dataset", "split": "train"}
SHAREGPT = {"_component_": "mos_tune.datasets.sharegpt_dataset"}
OPENAI = {
    "_component_": "torchtune.datasets.chat_dataset",
    "split": "train",
    "conversation_column": "messages",
    "conversation_style": "openai",
}
TURNS = OPENAI | {"conversation_column": "conversations", "conversation_style": "sharegpt"}
ALPACA = {"_component_": "torchtune.datasets.alpaca_dataset", "split": "train"}
TEXT = {"_component_": "torchtune.datasets.text_completion_dataset", "split": "train"}
OURS = {"_component_": "mos_tune.datasets.instruction_dataset"}
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


def chat(*contents, **more):
    roles = ("user", "assistant") * len(contents)
    messages = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    messages[-1] |= more
    return {"messages": messages}


def content(value):
    return f"content of turn 2 of messages is {value}, expected text"


BAD = {
    "broken UTF-8": (
        sixth(b'{"input": "\xff", "output": "a"}'),
        r"line 6 of FILE \(row 6\) is not UTF-8",
    ),
    "UTF-16": (file_of(PAIRS).decode().encode("utf-16"), r"line 1 of FILE \(row 1\) is not UTF-8"),
    "half a character": (
        sixth({"input": "\ud83d", "output": "a"}),
        r"line 6 of FILE \(row 6\) is no text",
    ),
    "no text at all": (bytes(range(256)) * 20, r"line 1 of FILE \(row 1\) is not valid JSON"),
    "zero bytes": (sixth(b"\0\0\0"), r"line 6 of FILE \(row 6\) is not valid JSON: .* at column 1"),
    "the last line is cut off": (
        file_of(PAIRS)[:-9],
        r"line 30 of FILE \(row 30\) is not valid JSON: Expecting ':' delimiter at column 26",
    ),
    "a line in the middle is cut off": (
        sixth(b'{"input": "q5", "outp'),
        r"line 6 of FILE \(row 6\) is not valid JSON: Unterminated string starting at column 17",
    ),
    "an array is cut off": (
        json.dumps(PAIRS).encode()[:-9],
        "line 1 of FILE is not valid JSON: .* at column 1022",
    ),
    "rows without names": (
        sixth(b'["q", "a"]'),
        r"line 6 of FILE \(row 6\) holds list, expected an object",
    ),
    "numbers": (every(3), r"line 1 of FILE \(row 1\) holds int, expected an object"),
    "an empty file": (b"", "FILE is empty"),
    "blank lines": (b"\n\n  \n", "FILE holds blank lines only"),
    "no column": (
        every({"question": "q", "output": "a"}),
        "example 0, line 1 of .* no column input, but question, output; .* 30 of 30 examples",
    ),
    "a row without the column": (
        sixth({"input": "q"}),
        "line 6 of .*: there is no column output, but input; its row is {'input': 'q'}",
    ),
    "a number as answer": (
        sixth({"input": "q", "output": 3}),
        r"example 5, line 6 of FILE \(row 6\), cannot be read: output is 3, expected text; its row",
    ),
    "a null as prompt": (
        sixth({"input": None, "output": "a"}),
        "line 6 of .* cannot be read: input is None",
    ),
    "a section as answer": (
        sixth({"input": "q", "output": {"text": "a"}}),
        r"line 6 of .* cannot be read: output is {'text': 'a'}, expected text",
    ),
    "a nan as prompt": (
        sixth(b'{"input": NaN, "output": "a"}'),
        "line 6 of .* input is nan, expected text",
    ),
    "two bad rows": (
        file_of([*PAIRS, *[{"input": None, "output": "a"}] * 2]),
        "; 2 of 32 examples are bad",
    ),
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
    "a null answer of a chat": (
        sixth(chat("what is 6*7?", None, refusal="no"), CHATS),
        r"example 5, line 6 of FILE \(row 6\), cannot be read: " + content("None"),
        OPENAI,
    ),
    "a null prompt of a chat": (
        sixth(chat(None, "a"), CHATS),
        "line 6 of .* content of turn 1 of messages is None, expected text",
        OPENAI,
    ),
    "a later null answer of a chat": (
        sixth(chat("q", "a", "q", None), CHATS),
        "line 6 of .* content of turn 4 of messages is None, expected text",
        OPENAI,
    ),
    "a number as a chat's answer": (
        sixth(chat("q", 42), CHATS),
        "line 6 of .* " + content(42),
        OPENAI,
    ),
    "a truth as a chat's answer": (sixth(chat("q", True), CHATS), content(True), OPENAI),
    "a section as a chat's answer": (sixth(chat("q", {"text": "a"}), CHATS), "line 6 of", OPENAI),
    "a chat's turn without content": (
        sixth({"messages": [{"role": "user", "content": "q"}, {"role": "assistant"}]}, CHATS),
        "line 6 of .* " + content(None),
        OPENAI,
    ),
    "a chat's turn without role": (
        sixth({"messages": [{"content": "q"}, {"role": "assistant", "content": "a"}]}, CHATS),
        "line 6 of .* role of turn 1 of messages is None, expected a role",
        OPENAI,
    ),
    "no parts": (sixth(chat("q", []), CHATS), "line 6 of .* " + content(None), OPENAI),
    "a part without text": (
        sixth(chat("q", [{"type": "text"}]), CHATS),
        "line 6 of .* a part's text in content of turn 2 of messages is None, expected text",
        OPENAI,
    ),
    "a part of another type": (
        sixth(chat("q", [{"type": "output_text", "text": "a"}]), CHATS),
        "line 6 of .* has a part of the type 'output_text', expected 'text'",
        OPENAI,
    ),
    "an image": (
        sixth(chat([{"type": "image_url", "image_url": {"url": "x.png"}}], "a"), CHATS),
        "line 6 of .* has a part of the type 'image_url', expected 'text'",
        OPENAI,
    ),
    "a conversation that is text": (
        sixth({"messages": "hello"}, CHATS),
        "line 6 of .* messages is 'hello', expected a list of turns",
        OPENAI,
    ),
    "no conversation": (
        sixth({"messages": None}, CHATS),
        "line 6 of .* messages is None, expected a list of turns",
        OPENAI,
    ),
    "a turn's null value": (
        sixth(turns(("human", "q"), ("gpt", None)), TALKS),
        "line 6 of .* value of turn 2 of conversations is None, expected text",
        TURNS,
    ),
    "a turn's number": (
        sixth(turns(("human", 3), ("gpt", "a")), TALKS),
        "line 6 of .* value of turn 1 of conversations is 3, expected text",
        TURNS,
    ),
    "a role that torchtune does not know": (
        sixth(turns(("human", "q"), ("tool", "a")), TALKS),
        "line 6 of .* from of turn 2 .* is 'tool', expected one of human, gpt, system",
        TURNS,
    ),
    "a null instruction": (
        sixth({"instruction": None, "input": "", "output": "a"}, CASES),
        "line 6 of .* instruction is None, expected text",
        ALPACA,
    ),
    "a number as input": (
        sixth({"instruction": "q", "input": 3, "output": "a"}, CASES),
        "line 6 of .* input is 3, expected text",
        ALPACA,
    ),
    "a null answer of an instruction": (
        sixth({"instruction": "q", "input": "", "output": None}, CASES),
        "line 6 of .* output is None, expected text",
        ALPACA,
    ),
    "a null text": (
        file_of([{"text": "abc"}] * 5 + [{"text": None}]),
        "line 6 of .* text is None, expected text",
        TEXT,
    ),
    "a number as text": (
        file_of([{"text": "abc"}] * 5 + [{"text": 3}]),
        "line 6 of .* text is 3, expected text",
        TEXT,
    ),
    "one number in an array with a byte order mark": (
        b"\xef\xbb\xbf" + json.dumps([*PAIRS[:5], {"input": "q", "output": 3}]).encode(),
        r"example 5, line 1 of FILE \(row 6\), cannot be read: output is 3, expected text",
    ),
    "a null under a field": (
        json.dumps({"v": 1, "data": [*PAIRS, {"input": "q", "output": None}]}, indent=1).encode(),
        r"example 30, line \d+ of FILE \(row 31\), cannot be read: output is None, expected text",
        INSTRUCT | {"field": "data"},
    ),
    "a number after blank lines": (
        file_of(PAIRS[:2]) + b"\n\n" + file_of([{"input": "q", "output": 3}]),
        r"line 5 of FILE \(row 3\): output is 3, but str in line 1 of FILE \(row 1\)",
    ),
    "a bare number after blank lines": (
        file_of(PAIRS[:2]) + b"\n\n3\n",
        r"line 5 of FILE \(row 3\) holds int, expected an object",
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


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("question", "answer"), "has the columns .* files of one dataset have the same columns"),
        (("input", "answer"), "has the columns|there is no column output, but input, answer"),
        (("input",), "there is no column output, but input|has the columns"),
    ],
)
def test_files_with_other_columns_are_one_sentence_in_any_order(
    settings, tmp_path, order, columns, expected
):
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    files[0].write_bytes(file_of(PAIRS))
    files[1].write_bytes(file_of([dict.fromkeys(columns, "x")] * 3))
    settings["dataset"]["copy"] = {
        **INSTRUCT,
        "source": "json",
        "data_files": [str(file) for file in files[::order]],
    }
    message = refused(settings)
    assert re.search(expected, message) and str(files[1]) in message


def test_the_first_bad_row_of_every_dataset_is_said_by_one_launch(settings, tmp_path):
    for name, rows in (
        ("copy", sixth({"input": "q", "output": None})),
        ("sort", b"{"),
        ("count", sixth({"input": "q", "output": 3})),
    ):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(rows)
        settings["dataset"][name] = {**INSTRUCT, "source": "json", "data_files": str(path)}
    settings["dataset"]["copy"]["data_files"] = [str(path.with_name("copy.jsonl"))] * 2
    message = refused(settings)
    damaged, count, copies = message.split("; also ")
    assert damaged.startswith(f"dataset.sort: line 1 of {tmp_path}/sort.jsonl (row 1) is not valid")
    assert count.startswith(f"dataset.count: example 5, line 6 of {tmp_path}/count.jsonl (row 6), ")
    assert copies.startswith(f"dataset.copy: example 5, line 6 of {tmp_path}/copy.jsonl (row 6), c")
    assert copies.endswith("; 2 of 60 examples are bad")


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


INFLATE = "Error -3 while decompressing data: invalid literal/length code"


def test_a_file_that_is_not_json_lines_inside_is_named(settings, tmp_path):
    path = tmp_path / "copy.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\x08broken" * 50)
    message = refused(with_data(settings, path))
    assert message == f"dataset.copy: {path} cannot be read: {INFLATE}"


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
    "a chat": (
        OPENAI,
        [*CHATS, chat("q", " "), chat("q", "", "q", "a")],
        "2 of 32 left out (a blank answer: 2)",
    ),
    "a chat whose bad rows are skipped": (
        OPENAI | {"on_bad_row": "skip"},
        [*CHATS, chat("q", None), chat("q", 3), chat(4, "a"), chat("q", "a", "q", None), chat("q")],
        "5 of 35 left out (null where text is expected: 2, a number where text is expected: 2, "
        "ValueError: Messages must be at least length N, but got N messages: 1)",
    ),
    "torchtune's builder whose bad rows are skipped": (
        INSTRUCT | {"on_bad_row": "skip"},
        [*PAIRS, {"input": "q"}, {"output": "a"}, {"input": None, "output": "a"}],
        "3 of 33 left out (no column output: 1, no column input: 1, null where text is expected: 1",
    ),
    "ours whose bad rows are skipped": (
        OURS | {"on_bad_row": "skip"},
        [*CHATS, b'{"messages": [', b"3", chat("q", 3), chat("q", None)],
        "4 of 34 left out (no JSON: 1, no object with the columns: 1, a number where text or a "
        "list of parts is expected: 1, no content in a turn of the role assistant: 1)",
    ),
    "sharegpt whose bad rows are skipped": (
        SHAREGPT | {"on_bad_row": "skip"},
        [*TALKS, {"conversations": "hello"}, turns(("human", 1), ("gpt", 2))],
        "2 of 32 left out (text where a list of turns is expected: 1, a number where text is expe",
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
    assert message.startswith(
        f"dataset.copy: example 5, line 6 of {path} (row 6), cannot be read: "
    )
    assert "output is None, expected text" in message
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
