# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Filters a source of examples, holds a part out and writes both parts as JSON lines."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mos_tune.prepare.contamination import EvaluationQuestions
from mos_tune.prepare.examples import Example, Skipped

HELD_OUT_FRACTION = 0.05
HELD_OUT_MAX = 500

_COUNTS = "counts.json"


@dataclass(kw_only=True)
class Counts:
    """What became of the records of one source."""

    read: int = 0
    """Records read."""

    skipped: dict[str, int] = field(default_factory=dict)
    """Records without an example, by reason."""

    contaminated: dict[str, int] = field(default_factory=dict)
    """Examples dropped, by the evaluation set that holds them."""

    duplicates: int = 0
    """Examples dropped because an earlier one has the same prompt."""

    train: int = 0
    """Examples in ``train.jsonl``."""

    held_out: int = 0
    """Examples in ``heldout.jsonl``."""

    bytes: int = 0
    """Size of both files together."""


def write_dataset(
    records: Iterable[Example | Skipped], evaluation: EvaluationQuestions, directory: Path
) -> Counts:
    """Writes ``train.jsonl``, ``heldout.jsonl`` and ``counts.json``.

    Rows are ``{"input": prompt, "output": answer}``. 5 % are held out, at most 500. Both files
    are in the order of a hash of the prompt, and the first ones are held out. So the split is
    the same on every machine, an example keeps its place when others come or go, and the first
    rows of a file are a fair sample of it.

    Args:
        records: The source.
        evaluation: Questions that may not be trained on.
        directory: Where the files go; it exists.

    Returns:
        The counts.
    """
    counts = Counts()
    skipped: Counter[str] = Counter()
    contaminated: Counter[str] = Counter()
    examples: dict[str, Example] = {}
    for record in records:
        counts.read += 1
        if isinstance(record, Skipped):
            skipped[record.reason] += 1
            continue
        evaluation_set = evaluation.find(record)
        key = " ".join(record.input.split())
        if evaluation_set is not None:
            contaminated[evaluation_set] += 1
        elif key in examples:
            counts.duplicates += 1
        else:
            examples[key] = record
    ordered = [examples[key] for key in sorted(examples, key=_hash)]
    counts.held_out = min(HELD_OUT_MAX, round(HELD_OUT_FRACTION * len(ordered)))
    counts.train = len(ordered) - counts.held_out
    counts.skipped, counts.contaminated = dict(skipped), dict(contaminated)
    counts.bytes = _write(directory / "heldout.jsonl", ordered[: counts.held_out])
    counts.bytes += _write(directory / "train.jsonl", ordered[counts.held_out :])
    (directory / _COUNTS).write_text(json.dumps(asdict(counts), indent=2) + "\n")
    return counts


def read_counts(directory: Path) -> Counts:
    """Returns the counts that were written beside a dataset."""
    return Counts(**json.loads((directory / _COUNTS).read_text()))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _write(path: Path, examples: list[Example]) -> int:
    rows = [{"input": example.input, "output": example.output} for example in examples]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    # newline="": the same bytes, and so the same counts, on every system.
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
    return path.stat().st_size
