# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""From a source's records to a dataset: filtered, a part held out, written and counted."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mos_tune.tables import aligned

HELD_OUT_FRACTION = 0.05
HELD_OUT_MAX = 500

_COUNTS = "counts.json"

_HEADER = (
    "dataset",
    "read",
    "skipped",
    "contaminated",
    "duplicates",
    "train",
    "held out",
    "MiB",
)

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Example:
    """A prompt and its answer."""

    input: str
    """The prompt."""

    output: str
    """The answer."""

    questions: tuple[str, ...]
    """The texts behind the prompt that are compared with the evaluation sets' questions."""


@dataclass(frozen=True)
class Skipped:
    """A record that gives no example."""

    reason: str
    """Why, in a few words; counted and printed."""


class EvaluationQuestions:
    """The questions that no training example may hold.

    Texts are compared word by word: capitals, spaces, punctuation and LaTeX signs do not count.
    An example is contaminated if one of its ``questions`` is an evaluation question, or if an
    evaluation question of at least 13 words stands anywhere in its prompt. Shorter ones are
    not searched for inside prompts, because phrases like "which of the following is true" are
    everybody's; 13 words is the usual length for this (Brown et al. 2020, arXiv 2005.14165,
    appendix C).

    Args:
        sets (Mapping[str, Iterable[str]]): the questions of each evaluation set. A question that
            stands in several counts for the first.
    """

    _WINDOW = 13

    def __init__(self, sets: Mapping[str, Iterable[str]]) -> None:
        self._exact: dict[tuple[str, ...], str] = {}
        for name, questions in sets.items():
            for question in questions:
                self._exact.setdefault(_words(question), name)
        self._exact.pop((), None)
        self._by_beginning = defaultdict(list)
        for words in self._exact:
            if len(words) >= self._WINDOW:
                self._by_beginning[words[: self._WINDOW]].append(words)

    def __len__(self) -> int:
        """Give the number of different questions."""
        return len(self._exact)

    def find(self, example: Example) -> str | None:
        """Give the name of the evaluation set that an example stands in, or None."""
        for question in example.questions:
            name = self._exact.get(_words(question))
            if name is not None:
                return name
        words = _words(example.input)
        for start in range(len(words) - self._WINDOW + 1):
            for question_words in self._by_beginning.get(words[start : start + self._WINDOW], ()):
                if words[start : start + len(question_words)] == question_words:
                    return self._exact[question_words]
        return None


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
    """Write ``train.jsonl``, ``heldout.jsonl`` and ``counts.json``.

    Rows are ``{"input": prompt, "output": answer}``. 5 % are held out, at most 500. Both files
    are in the order of a hash of the prompt, and the first ones are held out. So the split is
    the same on every machine, an example keeps its place when others come or go, and the first
    rows of a file are a fair sample of it.

    Args:
        records (Iterable[Example | Skipped]): the source.
        evaluation (EvaluationQuestions): what may not be trained on.
        directory (Path): where the files go; it exists.
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
    """Read the counts that were written beside a dataset."""
    return Counts(**json.loads((directory / _COUNTS).read_text()))


def format_counts(counts: Mapping[str, Counts]) -> str:
    """Write a line per dataset, then what skipped and contaminated consist of."""
    rows = []
    for name, c in counts.items():
        numbers = (
            c.read,
            sum(c.skipped.values()),
            sum(c.contaminated.values()),
            c.duplicates,
            c.train,
            c.held_out,
        )
        rows.append([name, *(f"{n:,}" for n in numbers), f"{c.bytes / 2**20:.1f}"])
    lines = [aligned(_HEADER, rows)]
    for name, c in counts.items():
        reasons = [f"{n:,} {reason}" for reason, n in c.skipped.items()]
        reasons += [f"{n:,} also in {evaluation}" for evaluation, n in c.contaminated.items()]
        if reasons:
            lines.append(f"{name}: dropped {', '.join(reasons)}")
    return "\n".join(lines)


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _write(path: Path, examples: list[Example]) -> int:
    rows = [{"input": example.input, "output": example.output} for example in examples]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    # newline="": the same bytes, and so the same counts, on every system.
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)
    return path.stat().st_size
