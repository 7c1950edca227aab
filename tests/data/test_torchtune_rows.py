# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Builders of torchtune train on the text of the file, whatever types ``datasets`` sees in it."""

import json

import datasets
import pytest
from omegaconf import OmegaConf
from torchtune.data import InputOutputToMessages
from torchtune.datasets import SFTDataset

from mos_tune.data.load import load_data
from mos_tune.data.torchtune_rows import reads_of
from mos_tune.errors import UserError
from mos_tune.sections import read_sections
from mos_tune.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer()
INSTRUCT = {"_component_": "torchtune.datasets.instruct_dataset", "split": "train"}
OPENAI = {
    "_component_": "torchtune.datasets.chat_dataset",
    "split": "train",
    "conversation_column": "messages",
    "conversation_style": "openai",
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def pairs(*answers):
    return [{"input": f"q{i}", "output": answer} for i, answer in enumerate(answers)]


def chats(*answers):
    return [
        {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": a}]}
        for i, a in enumerate(answers)
    ]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def load(tmp_path, files, section):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in files]
    source = "csv" if paths[0].endswith("csv") else "json"
    dataset = {"source": source, "data_files": paths, **section}
    return load_data(
        read_sections(OmegaConf.create({"dataset": {"a": dataset}, "validation": None})),
        TOKENIZER,
        seed=0,
    )


def trained_on(data):
    examples = data.train["a"]
    return [
        TOKENIZER.decode([int(t) for t in examples[i]["labels"][1:] if t >= 0])
        for i in range(len(examples))
    ]


ODD_PART = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
MENDED = {
    "dates": ({"a.jsonl": lines(pairs("2024-05-01", "2024-05-02"))}, INSTRUCT, None),
    "dates in a later file": (
        {"a.jsonl": lines(pairs("unknown")), "b.jsonl": lines(pairs("2024-05-01", "2024-05-02"))},
        INSTRUCT,
        ["unknown", "2024-05-01", "2024-05-02"],
    ),
    "times of a chat": ({"a.jsonl": lines(chats("2024-05-01T10:00:00"))}, OPENAI, None),
    "one turn of parts among text": (
        {"a.jsonl": lines(chats("4", '"Yes"', "null", "true", ODD_PART))},
        OPENAI,
        ["4", '"Yes"', "null", "true", "hello"],
    ),
    "numbers in CSV": ({"a.csv": "input,output\nq,007\nr,1.50\n"}, INSTRUCT, ["007", "1.50"]),
    "truths in CSV": ({"a.csv": "input,output\nq,true\nr,False\n"}, INSTRUCT, ["true", "False"]),
    "missing values of pandas in CSV": (
        {"a.csv": "input,output\nq,NA\nr,None\ns,null\nt,nan\nu,x\n"},
        INSTRUCT,
        ["NA", "None", "null", "nan", "x"],
    ),
    "dates in CSV": ({"a.csv": "input,output\n2024-05-01,2024-05-02\n"}, INSTRUCT, ["2024-05-02"]),
    "an array with a byte order mark": (
        {"a.json": "\ufeff" + json.dumps(pairs("1", "2024-05-01"))},
        INSTRUCT,
        ["1", "2024-05-01"],
    ),
    "a part of a file": (
        {"a.jsonl": lines(pairs("2024-05-01", "2024-05-02", "2024-05-03"))},
        INSTRUCT | {"split": "train[1:]"},
        ["2024-05-02", "2024-05-03"],
    ),
    "a part drawn at random": (
        {"a.jsonl": lines(pairs("2024-05-01", "2024-05-02"))},
        INSTRUCT
        | {
            "_component_": "mos_tune.datasets.sampled_dataset",
            "builder": INSTRUCT["_component_"],
            "fraction": 0.99,
        },
        ["2024-05-01", "2024-05-02"],
    ),
    "rows under a field": (
        {"a.json": json.dumps({"v": 1, "rows": pairs("2024-05-01")})},
        INSTRUCT | {"field": "rows"},
        ["2024-05-01"],
    ),
}


@pytest.mark.parametrize(("files", "section", "expected"), MENDED.values(), ids=MENDED.keys())
def test_the_text_of_the_file_is_trained_on(tmp_path, files, section, expected):
    if expected is None:
        rows = [json.loads(row) for row in files["a.jsonl"].splitlines()]
        expected = [
            row["output"] if "output" in row else row["messages"][1]["content"] for row in rows
        ]
    assert trained_on(load(tmp_path, files, section)) == expected


def test_a_type_that_was_guessed_is_refused_where_the_text_is_out_of_reach(tmp_path):
    files = {"a.csv": "input;output\nq;7\nr;8\n"}
    with pytest.raises(UserError) as caught:
        load(tmp_path, files, INSTRUCT | {"delimiter": ";"})
    assert str(caught.value).startswith(
        "dataset.a: the column output has the type Value('int64'), told by its values, where text "
        "is expected; row 1 has 7; write it as text, or use mos_tune.datasets.instruction_dataset"
    )
    texts = {"b.csv": "input;output\nq;seven\n"}
    assert trained_on(load(tmp_path, texts, INSTRUCT | {"delimiter": ";"})) == ["seven"]


def test_a_table_with_declared_types_is_taken_for_what_it_says(tmp_path):
    path = tmp_path / "a.parquet"
    for answer, said in ((3, r"the column output has the type Value\('int64'\)"), ("three", None)):
        datasets.Dataset.from_list([{"input": "q", "output": answer}]).to_parquet(path)
        section = INSTRUCT | {"source": "parquet", "data_files": str(path)}
        cfg = OmegaConf.create({"dataset": {"a": section}, "validation": None})
        if said is None:
            assert trained_on(load_data(read_sections(cfg), TOKENIZER, seed=0)) == [answer]
        else:
            with pytest.raises(UserError, match=said):
                load_data(read_sections(cfg), TOKENIZER, seed=0)


def test_a_column_that_is_null_for_long_and_then_dates_names_the_way_out(tmp_path):
    # Longer than the blocks in which datasets reads.
    rows = [{"input": "q" * 1000, "output": None}] * 11_000 + pairs("2024-05-01")
    said = "^dataset.a: datasets can make no table of .*/a.jsonl, .*instruction_dataset"
    with pytest.raises(UserError, match=said):
        load(tmp_path, {"a.jsonl": lines(rows)}, INSTRUCT)


class Counting(InputOutputToMessages):
    """A transform of one's own, which may take numbers."""

    def __call__(self, sample):
        return super().__call__({key: str(value) for key, value in sample.items()})


def test_a_transform_of_ones_own_reads_what_it_likes(tmp_path):
    (tmp_path / "a.jsonl").write_text(lines(pairs(3)))
    dataset = SFTDataset(
        source="json",
        data_files=str(tmp_path / "a.jsonl"),
        split="train",
        message_transform=Counting(),
        model_transform=TOKENIZER,
    )
    assert reads_of(dataset) is None
