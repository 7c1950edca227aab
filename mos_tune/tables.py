# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Tables as text: Markdown, aligned columns, and the tables of runs with mean ± deviation."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

PROBABILITY = "p "
"""What the column of a dataset's probability begins with."""

_MISSING = "–"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table; all columns but the first are aligned on the right."""
    rule = f"|---|{'---:|' * (len(header) - 1)}"
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in [header, *rows])
    head, *body = (f"| {' | '.join(cells)} |" for cells in escaped)
    return "\n".join([head, rule, *body])


def aligned(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table for the terminal; all columns but the first are aligned on the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One column of the runs of one name."""

    mean: float
    """Mean over the runs."""

    std: float | None
    """Standard deviation over the runs (of a sample: n - 1); None for one run."""

    runs: int
    """How many of the runs have this column."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The runs of one name."""

    name: str
    """Their name."""

    runs: int
    """How many they are."""

    cells: Mapping[str, Cell]
    """By column; without those that none of the runs has."""


def row_of(name: str, runs: Sequence[Mapping[str, float]]) -> Row:
    """Take mean and standard deviation of every column that any of the runs has.

    Args:
        name (str): the runs' name.
        runs (Sequence[Mapping[str, float]]): the values of each run by column.
    """
    cells = {}
    for column in dict.fromkeys(column for run in runs for column in run):
        values = [run[column] for run in runs if column in run]
        std = stdev(values) if len(values) > 1 else None
        cells[column] = Cell(mean=mean(values), std=std, runs=len(values))
    return Row(name=name, runs=len(runs), cells=cells)


def runs_as_markdown(
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    decimals: int = 2,
    lower_is_better: bool = False,
) -> str:
    """Write mean ± standard deviation over the runs, the best in bold.

    What was not measured is a dash. ``(2 of 3)`` behind a number says that it is of two out of
    three runs. Best are all that look the same as the best.

    Args:
        columns (Sequence[str]): the columns.
        rows (Sequence[Row]): the rows.
        decimals (int): of all numbers but probabilities, which have 3. Default 2: scores in per
            cent.
        lower_is_better (bool): True for losses. Default False.
    """
    lines = [[row.name, str(row.runs)] for row in rows]
    for column in columns:
        digits = 3 if column.startswith(PROBABILITY) else decimals
        best = _best(column, rows, digits, min if lower_is_better else max)
        for line, row in zip(lines, rows, strict=True):
            line.append(_text(row.cells.get(column), row.runs, best, digits))
    return markdown(["run", "runs", *columns], lines)


def runs_as_csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Write the numbers unrounded: mean, standard deviation and number of runs of each column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [f"{column}{part}" for column in columns for part in ("", " std", " runs")]
    writer.writerow(["run", "runs", *header])
    for row in rows:
        line: list[str | int | float | None] = [row.name, row.runs]
        for column in columns:
            cell = row.cells.get(column)
            line += [cell.mean, cell.std, cell.runs] if cell else [None, None, 0]
        writer.writerow(line)
    return text.getvalue()


def _best(
    column: str, rows: Sequence[Row], digits: int, choose: Callable[[list[float]], float]
) -> str | None:
    means = [row.cells[column].mean for row in rows if column in row.cells]
    # No probability is better than another, and a score alone is not the best of anything.
    if column.startswith(PROBABILITY) or len(means) < 2:
        return None
    return f"{choose(means):.{digits}f}"


def _text(cell: Cell | None, runs: int, best: str | None, digits: int) -> str:
    if cell is None:
        return _MISSING
    mean = f"{cell.mean:.{digits}f}"
    text = mean if cell.std is None else f"{mean} ± {cell.std:.{digits}f}"
    if mean == best:
        text = f"**{text}**"
    return text if cell.runs == runs else f"{text} ({cell.runs} of {runs})"
