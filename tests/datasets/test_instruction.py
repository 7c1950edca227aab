# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import csv
import gzip
import json
import pickle

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from mos_tune.datasets import instruction_dataset
from mos_tune.errors import UnusableExample, UserError
from mos_tune.tokenizers import CharTokenizer

BOM = b"\xef\xbb\xbf"

# Each would be something else to a reader that guesses.
TEXTS = [
    "2024-05-01",
    "2024-05-01T10:00:00Z",
    "007",
    "4",
    '"Yes"',
    "null",
    "None",
    "NA",
    "nan",
    "true",
    "1e5",
    "-0",
    "[1, 2]",
    '{"a": 1}',
    "a,b;c",
    "two\nlines",
    "  blanks  ",
    "#",
    "'",
    "x" * 200_000,
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write(path, rows, kind):
    """Write rows as another program would; returns the builder's options."""
    if kind == "array":
        path = path.with_suffix(".json")
        path.write_text(json.dumps(rows, indent=1, ensure_ascii=False))
    elif kind == "array with BOM":
        path = path.with_suffix(".json")
        path.write_bytes(BOM + json.dumps(rows).encode())
    elif kind == "field":
        path = path.with_suffix(".json")
        whole = {"vérsion": "🙂", "more": {"data": [3]}, "dáta": rows, "é": "after"}
        path.write_text(json.dumps(whole, indent=2, ensure_ascii=False))
        return {"data_files": str(path), "field": "dáta"}
    elif kind == "blank lines":
        path = path.with_suffix(".jsonl")
        path.write_bytes(BOM + b"\n" + lines(rows).replace(b"\n", b"\r\n \n\n"))
    elif kind == "jsonl.gz":
        path = path.with_suffix(".jsonl.gz")
        path.write_bytes(gzip.compress(lines(rows)))
    elif kind in ("csv", "tsv"):
        path = path.with_suffix("." + kind)
        with open(path, "w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(
                file, list(rows[0]), delimiter=",\t"[kind == "tsv"], lineterminator="\r\n"
            )
            writer.writeheader()
            writer.writerows(rows)
            file.write("\r\n")
    elif kind == "parquet":
        path = path.with_suffix(".parquet")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path = path.with_suffix(".jsonl")
        path.write_bytes(lines(rows))
    return {"data_files": str(path)}


JSON_KINDS = ["jsonl", "array", "array with BOM", "field", "blank lines", "jsonl.gz"]
KINDS = [*JSON_KINDS, "csv", "tsv", "parquet"]

TOKENIZER = CharTokenizer()


def load(path, rows, kind="jsonl", **options):
    return instruction_dataset(TOKENIZER, **write(path / "rows", rows, kind), **options)


def text(example):
    return TOKENIZER.decode(example["tokens"], skip_special_tokens=False, truncate_at_eos=False)


def trained(example):
    kept = [token for token in example["labels"] if token != -100]
    return TOKENIZER.decode(kept, skip_special_tokens=False, truncate_at_eos=False)


@pytest.mark.parametrize("kind", KINDS)
def test_questions_and_answers_are_the_text_of_the_file(tmp_path, kind):
    rows = [{"id": str(i), "answer": t, "question": f"q{t}"} for i, t in enumerate(TEXTS)]
    dataset = load(tmp_path, rows, kind)
    assert len(dataset) == len(TEXTS)
    for example, answer in zip(dataset, TEXTS, strict=True):
        assert text(example) == f"<bos><user>q{answer}<assistant>{answer}<eos>"
        assert trained(example) == f"{answer}<eos>"


@pytest.mark.parametrize("kind", KINDS)
def test_alpaca(tmp_path, kind):
    rows = [
        {"instruction": "Add.", "input": "1 1", "output": "2"},
        {"instruction": "Say hi.", "input": "", "output": "hi"},
    ]
    first, second = load(tmp_path, rows, kind)
    assert text(first) == "<bos><user>Add.\n\n1 1<assistant>2<eos>"
    assert text(second) == "<bos><user>Say hi.<assistant>hi<eos>"
    assert (trained(first), trained(second)) == ("2<eos>", "hi<eos>")


TALK = [
    ("system", "Be kind."),
    ("user", "a"),
    ("assistant", "b"),
    ("user", "c"),
    ("assistant", "d"),
]
NAMES = {"system": "system", "user": "human", "assistant": "gpt"}


@pytest.mark.parametrize("kind", [*JSON_KINDS, "parquet"])
@pytest.mark.parametrize("column", ["conversations", "messages"])
@pytest.mark.parametrize("style", ["sharegpt", "openai"])
def test_conversations(tmp_path, kind, column, style):
    role, content = ("role", "content") if style == "openai" else ("from", "value")
    names = {} if style == "openai" else NAMES
    turns = [{role: names.get(who, who), content: said} for who, said in TALK]
    for wanted in ("auto", style):
        (example,) = load(tmp_path, [{"id": 1, column: turns}], kind, format=wanted)
        whole = "<bos><system>Be kind.<user>a<assistant>b<eos><user>c<assistant>d<eos>"
        assert text(example) == whole
        assert trained(example) == "b<eos>d<eos>"


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        ({"question": "q", "answer": "a"}, "question_answer (question, answer)"),
        ({"prompt": "q", "completion": "a"}, "question_answer (prompt, completion)"),
        ({"prompt": "q", "response": "a"}, "question_answer (prompt, response)"),
        ({"input": "q", "output": "a"}, "question_answer (input, output)"),
        ({"query": "q", "response": "a"}, "question_answer (query, response)"),
        ({"instruction": "q", "output": "a"}, "alpaca (instruction, output)"),
        ({"instruction": "q", "response": "a"}, "alpaca (instruction, response)"),
        (
            {"instruction": "q", "context": "", "response": "a", "category": "qa"},
            "alpaca (instruction, context, response); not read: category",
        ),
        (
            {"id": 3, "system_prompt": "", "question": "q", "response": "a"},
            "question_answer (question, response, system_prompt); not read: id",
        ),
        (
            # As UltraChat has it: the prompt is also the first turn.
            {
                "prompt": "q",
                "messages": [
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "a", "mood": "good", "name": None},
                ],
            },
            "openai (messages); not read: prompt, messages.mood",
        ),
    ],
)
def test_auto_says_what_it_took_the_file_for(tmp_path, caplog, row, taken):
    dataset = load(tmp_path, [row])
    assert text(dataset[0]) == "<bos><user>q<assistant>a<eos>"
    assert caplog.messages == [f"{tmp_path}/rows.jsonl: taken for {taken}"]


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        (
            [{"text": "a", "label": "b"}],
            {},
            "rows.jsonl has the columns text, label, but question_answer needs one of question, "
            "prompt, input, query and one of answer, completion, response, output; alpaca needs "
            "instruction and one of .*; sharegpt needs one of conversations, .*, a list of turns "
            "with from and value; openai needs .* role and content; name them in column_map$",
        ),
        ([{"question": "a", "prompt": "b", "answer": "c"}], {}, "has the columns question, prompt"),
        (
            [{"prompt": "a", "completion": "b", "messages": [{"role": "user", "content": "c"}]}],
            {},
            r"so it is question_answer \(prompt, completion\) or openai \(messages\); say which as",
        ),
        ([{"messages": '[{"role": "user"}]'}], {}, "has the columns messages, but"),
        (
            [{"question": "a"}],
            {"format": "question_answer"},
            "the columns question, but question_answer needs [^;]*; name them in column_map$",
        ),
        ([{"question": "a"}], {"format": "chat"}, "format must be auto, .* got 'chat'"),
        ([{"q": "a"}], {"column_map": {"question": "x"}}, "question is x, but .*the columns q$"),
        (
            [{"q": "a"}],
            {"column_map": {"question": "q"}, "format": "openai"},
            "column_map.question is no part of format openai, which has messages, tools",
        ),
        ([{"question": "a", "answer": "b"}], {"system_prompt": 3}, "system_prompt must be text"),
        ([{"question": "a", "answer": "b"}], {"split": "test"}, 'Unknown split "test"'),
        ([{"question": "a", "answer": "b"}], {"fraction": 0}, "fraction must be above 0"),
        ([{"question": "a", "answer": "b"}], {"revision": "x"}, "revision: no option of files"),
        ([], {}, "is empty"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path, rows, options, said):
    with pytest.raises(UserError, match=said):
        load(tmp_path, rows, **options)


def test_column_map_names_the_columns(tmp_path):
    rows = [{"problem": "p", "solution": "s", "answer": "no", "persona": "Be odd."}]
    column_map = {"question": "problem", "answer": "solution", "system": "persona"}
    for options in ({}, {"format": "question_answer"}):
        (example,) = load(tmp_path, rows, column_map=column_map, **options)
        assert text(example) == "<bos><system>Be odd.<user>p<assistant>s<eos>"
    (example,) = load(tmp_path, rows, column_map={"instruction": "problem", "output": "solution"})
    assert text(example) == "<bos><user>p<assistant>s<eos>"


@pytest.mark.parametrize(
    ("row", "whole"),
    [
        ({"question": "q", "answer": "a"}, "<system>Be brief.<user>q<assistant>a<eos>"),
        (
            {"question": "q", "answer": "a", "system": "Mine."},
            "<system>Mine.<user>q<assistant>a<eos>",
        ),
        (
            {"question": "q", "answer": "a", "system": None},
            "<system>Be brief.<user>q<assistant>a<eos>",
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
            "<system>Be brief.<user>q<assistant>a<eos>",
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": ""},
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": "a"},
                ]
            },
            "<system><user>q<assistant>a<eos>",
        ),
    ],
)
def test_system_prompt_is_for_rows_that_have_none(tmp_path, row, whole):
    (example,) = load(tmp_path, [row], system_prompt="Be brief.")
    assert text(example) == f"<bos>{whole}"
    assert trained(example) == "a<eos>"


def says(*turns):
    keys = ("role", "content", "weight")
    return {"messages": [dict(zip(keys, turn, strict=False)) for turn in turns]}


PARTS = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
PICTURE = {"type": "image_url", "image_url": {"url": "x.png"}}
CALL = {"id": "1", "type": "function", "function": {"name": "now", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("row", "whole", "answers"),
    [
        (
            says(("user", PARTS), ("assistant", PARTS[:1])),
            "<user>hello<assistant>he<eos>",
            "he<eos>",
        ),
        (
            says(("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d")),
            "<user>a<user>b<assistant>c<eos><assistant>d<eos>",
            "c<eos>d<eos>",
        ),
        (
            says(("user", "a"), ("assistant", "b", 0), ("user", "c"), ("assistant", "d", 1)),
            "<user>a<assistant>b<eos><user>c<assistant>d<eos>",
            "d<eos>",
        ),
        (
            says(("user", "a"), ("assistant", "b", None), ("user", "more?")),
            "<user>a<assistant>b<eos><user>more?",
            "b<eos>",
        ),
        (
            says(("user", "a", 1), ("assistant", "", 0), ("user", "b"), ("assistant", "c")),
            "<user>a<assistant><eos><user>b<assistant>c<eos>",
            "c<eos>",
        ),
    ],
)
def test_turns(tmp_path, row, whole, answers):
    (example,) = load(tmp_path, [row])
    assert text(example) == f"<bos>{whole}"
    assert trained(example) == answers


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (says(("user", "q"), ("assistant", None)), "no content in a turn of the role assistant"),
        (says(("user", "q"), ("assistant",)), "no content in a turn of the role assistant"),
        (says(("user", "q"), ("assistant", [])), "no content in a turn of the role assistant"),
        (says(("user", None), ("assistant", "a")), "no content in a turn of the role user"),
        (says(("system", None), ("user", "q"), ("assistant", "a")), "no content .* role system"),
        (says(("user", "q"), ("assistant", " \n")), "a blank answer"),
        (says(("user", "q"), ("assistant", [{"type": "text", "text": ""}])), "a blank answer"),
        (says(("user", ""), ("assistant", "a")), "a blank prompt"),
        (says(("user", "q")), "no answer"),
        (says(("user", "q"), ("assistant", "a", 0)), "no answer whose weight is not 0"),
        ({"messages": []}, "no answer"),
        ({"messages": None}, "no turns"),
        (says(("user", [PICTURE]), ("assistant", "a")), r"a content part without text \(image_url"),
        (
            says(("user", [PARTS[0], PICTURE]), ("assistant", "a")),
            r"a content part without text \(image_url\)",
        ),
        (
            says(("user", [PICTURE | {"text": "a cat"}]), ("assistant", "a")),
            r"a content part without text \(image_url\)",
        ),
        (
            says(("user", "q"), ("assistant", [{"type": "refusal", "refusal": "no"}])),
            r"a content part without text \(refusal\)",
        ),
        (
            says(("user", "q"), ("assistant", [{"type": "text", "text": None}])),
            r"a content part without text \(text\)",
        ),
        (says(("judge", "q"), ("assistant", "a")), "unknown role 'judge'"),
        (
            says(("developer", "d"), ("user", "q"), ("assistant", "a")),
            "the role developer, which the tokenizer cannot write",
        ),
        (
            says(("user", "q"), ("function", "d"), ("assistant", "a")),
            "the role tool, which the tokenizer cannot write",
        ),
        (
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
            | {"tools": [{"type": "function"}]},
            "tools, which the tokenizer cannot write",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "q"},
                    {"role": "assistant", "content": None, "tool_calls": [CALL]},
                ]
            },
            "a tool call, which the tokenizer cannot write",
        ),
    ],
)
def test_what_is_left_out(tmp_path, row, reason):
    dataset = load(tmp_path, [says(("user", "q"), ("assistant", "a")), row])
    assert text(dataset[0]) == "<bos><user>q<assistant>a<eos>"
    with pytest.raises(UnusableExample, match=f"^{reason}"):
        dataset[1]


@pytest.mark.parametrize("value", [3, 2.5, True, {"text": "a"}, ["a"]])
@pytest.mark.parametrize("column", ["question", "answer"])
def test_what_is_no_text_names_file_line_and_column(tmp_path, column, value):
    rows = [{"question": "q", "answer": "a"}] * 3
    bad = rows[0] | {column: value}
    dataset = load(tmp_path, [*rows, bad], "blank lines")
    assert text(dataset[2]) == "<bos><user>q<assistant>a<eos>"
    with pytest.raises(UserError) as caught:
        dataset[3]
    # A blank line first, and two behind each row.
    assert str(caught.value) == (
        f"line 11 of {tmp_path}/rows.jsonl (row 4): {column} is {value!r}, expected text"
    )


@pytest.mark.parametrize("column", ["question", "answer"])
@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_question_or_an_answer_that_is_not_there_is_left_out(tmp_path, column, value):
    rows = [{"question": "q", "answer": "a"}, {"question": "q", "answer": "a", column: value}]
    for kind in ("jsonl", "array", "parquet"):
        with pytest.raises(
            UnusableExample, match="^(a blank (prompt|answer)|the (prompt|answer) is null)$"
        ):
            load(tmp_path, rows, kind)[1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "q"}, "there is no column messages, but question"),
        ({"messages": "hello"}, "messages is 'hello', expected a list of turns"),
        ({"messages": {"role": "user"}}, "messages is {'role': 'user'}, expected a list of turns"),
        ({"messages": ["hello"]}, "turn 1 of messages is 'hello', expected role and content"),
        (says(("user", 3), ("assistant", "a")), "content of turn 1 of messages is 3, expected tex"),
        (
            says(("user", "q"), ("assistant", 4)),
            "content of turn 2 of messages is 4, expected text",
        ),
        (says(("user", "q"), ("assistant", False)), "content of turn 2 .* is False, expected text"),
        (says(("user", "q"), ("assistant", {"text": "a"})), "content of turn 2 of messages is {"),
        (says(("user", ["q"]), ("assistant", "a")), "a part of .* is 'q', expected type and text"),
        (
            says(("user", "q"), ("assistant", [{"type": "text", "text": 4}])),
            "a part's text in content of turn 2 of messages is 4, expected text",
        ),
        (says(("user", "\ud83d"), ("assistant", "a")), "is no text: surrogates not allowed"),
        (says((None, "q"), ("assistant", "a")), "role of turn 1 of messages is None, expected a r"),
        (says((7, "q"), ("assistant", "a")), "role of turn 1 of messages is 7, expected a role"),
        (says(("user", "q"), ("assistant", "a", 0.5)), "weight of turn 2 .* is 0.5, expected 0 or"),
        (says(("user", "q"), ("assistant", "a", "0")), "weight of turn 2 .* is '0', expected 0 or"),
        (says(("user", "q"), ("assistant", "a", True)), "weight of turn 2 .* is True, expected 0"),
        (
            {"messages": [{"role": "assistant", "content": "a", "tool_calls": "now"}]},
            "tool_calls of turn 1 of messages is 'now', expected a list",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "tool_calls": [{"id": 1}]}]},
            "a tool call of turn 1 of messages is {'id': 1}, expected a named function",
        ),
        (
            {"messages": [{"role": "user", "content": "a", "tool_calls": [CALL]}]},
            "turn 1 of messages has tool_calls and the role user, expected an assistant's",
        ),
        (says(("user", "q"), ("assistant", "a")) | {"tools": 3}, "tools is 3, expected a list of"),
        (says(("user", "q"), ("assistant", "a")) | {"tools": "x"}, "tools is 'x', expected a list"),
    ],
)
def test_what_is_no_conversation_names_its_place(tmp_path, row, said):
    dataset = load(tmp_path, [says(("user", "q"), ("assistant", "a")) | {"tools": None}, row])
    assert trained(dataset[0]) == "a<eos>"
    with pytest.raises(UserError, match=rf"^line 2 of .*/rows.jsonl \(row 2\): .*{said}"):
        dataset[1]


def test_a_null_answer_is_not_replaced_by_the_question(tmp_path):
    turns = [
        {"role": "user", "content": "what is 6*7?"},
        {"role": "assistant", "content": None, "refusal": "no"},
    ]
    for kind in ("jsonl", "parquet"):
        dataset = load(tmp_path, [{"messages": turns}] * 3, kind)
        for index in range(3):
            with pytest.raises(UnusableExample, match="^no content in a turn of the role assist"):
                dataset[index]


def test_one_odd_row_does_not_change_others(tmp_path):
    answers = ["0", '"Yes"', "null", "4", "2024-05-01"]
    rows = [says(("user", "q"), ("assistant", answer)) for answer in answers]
    odd = says(("user", PARTS), ("assistant", "ok"))
    for kind in JSON_KINDS:
        dataset = load(tmp_path, [*rows, odd], kind)
        assert [trained(example) for example in dataset] == [f"{a}<eos>" for a in [*answers, "ok"]]


def test_the_row_is_blamed_and_not_the_file(tmp_path):
    rows = [{"input": f"q{i}", "output": 3 if i == 4 else "a"} for i in range(9)]
    for kind, line in (("array with BOM", 1), ("array", 18), ("field", 25), ("jsonl.gz", 5)):
        dataset = load(tmp_path, rows, kind)
        with pytest.raises(UserError, match=rf"^line {line} of .*rows\.\S+ \(row 5\): output is 3"):
            dataset[4]


def test_dates_in_one_of_two_files_stay_text(tmp_path):
    for name, answer in (("a", "unknown"), ("b", "2024-05-01")):
        write(tmp_path / name, [{"input": "when?", "output": answer}] * 9, "jsonl")
    files = [f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"]
    for given in (files, files[::-1], f"{tmp_path}/*.jsonl", str(tmp_path)):
        dataset = instruction_dataset(TOKENIZER, data_files=given)
        found = {trained(example) for example in dataset}
        assert (len(dataset), found) == (18, {"unknown<eos>", "2024-05-01<eos>"})


def test_files_of_several_kinds_and_orders_of_columns(tmp_path):
    write(tmp_path / "a", [{"question": "1", "answer": "2"}], "csv")
    write(tmp_path / "b", [{"answer": "4", "id": "x", "question": "3"}], "jsonl")
    write(tmp_path / "c", [{"answer": "6", "question": "5"}], "parquet")
    files = [f"{tmp_path}/{name}" for name in ("c.parquet", "a.csv", "b.jsonl")]
    dataset = instruction_dataset(TOKENIZER, data_files=files)
    assert [trained(example) for example in dataset] == ["6<eos>", "2<eos>", "4<eos>"]


@pytest.mark.parametrize(
    "other",
    [{"prompt": "q", "response": "a"}, {"instruction": "q", "output": "a"}],
)
def test_files_with_other_columns_are_refused_in_any_order(tmp_path, other):
    write(tmp_path / "a", [{"question": "q", "answer": "a"}], "jsonl")
    write(tmp_path / "b", [other], "jsonl")
    files = [f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"]
    for given in (files, files[::-1]):
        first, second = (rf"{file} is \w+ \([a-z, ]+\)" for file in given)
        with pytest.raises(UserError, match=f"^{first} and {second}; files of one dataset have"):
            instruction_dataset(TOKENIZER, data_files=given)


def test_an_optional_column_may_be_in_some_rows_and_files(tmp_path):
    write(tmp_path / "a", [{"instruction": "q", "output": "a"}], "jsonl")
    write(tmp_path / "b", [{"instruction": "q", "input": "i", "output": "a"}], "jsonl")
    write(
        tmp_path / "c",
        [{"instruction": "q", "output": "a"}, {"instruction": "q", "input": "j", "output": "a"}],
        "jsonl",
    )
    dataset = instruction_dataset(TOKENIZER, data_files=f"{tmp_path}/*.jsonl")
    prompts = [text(example).removeprefix("<bos><user>").split("<")[0] for example in dataset]
    assert prompts == ["q", "q\n\ni", "q", "q\n\nj"]


def test_splits_and_folders(tmp_path):
    rows = [{"question": "q", "answer": str(i)} for i in range(10)]
    assert [trained(e) for e in load(tmp_path, rows, split="train[7:]")] == [
        "7<eos>",
        "8<eos>",
        "9<eos>",
    ]
    assert len(load(tmp_path, rows, split="train[:50%]")) == 5
    write(tmp_path / "folder", rows, "jsonl")
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train", rows, "jsonl")
    write(tmp_path / "data" / "test", rows[:3], "jsonl")
    for options in ({"source": str(tmp_path / "data")}, {"data_files": str(tmp_path / "data")}):
        assert len(instruction_dataset(TOKENIZER, **options)) == 10
        assert len(instruction_dataset(TOKENIZER, **options, split="test")) == 3
    files = {"train": [f"{tmp_path}/data/train.jsonl"], "held": f"{tmp_path}/data/test.jsonl"}
    dataset = instruction_dataset(TOKENIZER, data_files=files, split="held+train[8:]")
    assert [trained(e)[0] for e in dataset] == ["0", "1", "2", "8", "9"]


def test_a_source_of_csv_keeps_what_pandas_would_change(tmp_path):
    (tmp_path / "repository").mkdir()
    rows = [{"question": "q", "answer": answer} for answer in ("007", "NA", "", "1.0", "True")]
    write(tmp_path / "repository" / "train", rows, "csv")
    dataset = instruction_dataset(TOKENIZER, source=str(tmp_path / "repository"))
    assert [trained(dataset[i]) for i in (0, 1, 3, 4)] == [
        "007<eos>",
        "NA<eos>",
        "1.0<eos>",
        "True<eos>",
    ]
    with pytest.raises(UnusableExample, match="^a blank answer$"):
        dataset[2]


@pytest.mark.parametrize("values", [[1, 2], [None, None], [[["a"]], [["b"]]], [True, False]])
def test_a_declared_type_that_is_no_text_is_refused(tmp_path, values):
    rows = [{"question": "q", "answer": value} for value in values]
    with pytest.raises(UserError, match="the column answer has the type .*, expected text"):
        load(tmp_path, rows, "parquet")
    turns = [says(("user", 1), ("assistant", 2))]
    with pytest.raises(UserError, match="the column messages has the type .*, expected text"):
        load(tmp_path, turns, "parquet")


def test_a_part_is_drawn_by_the_seed(tmp_path):
    rows = [{"question": "q", "answer": str(i)} for i in range(40)]
    drawn = [load(tmp_path, rows, fraction=0.25, seed=seed).indices for seed in (0, 0, 1)]
    assert len(drawn[0]) == 10
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_dataset_can_be_sent_to_another_process(tmp_path):
    rows = [{"question": "q", "answer": "é 7"}]
    for kind in KINDS:
        dataset = load(tmp_path, rows, kind)
        assert pickle.loads(pickle.dumps(dataset))[0] == dataset[0]
