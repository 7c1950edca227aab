# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The table as Markdown and as CSV."""

import csv
import io
from collections.abc import Callable, Sequence

from mos_tune.evaluation.table.rows import PROBABILITY, Cell, Row

_MISSING = "–"


def as_markdown(
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    decimals: int = 2,
    lower_is_better: bool = False,
) -> str:
    """Returns the table with mean ± standard deviation over the runs, the best in bold.

    What was not measured is a dash. ``(2 of 3)`` behind a number says that it is of two out of
    three runs. Best are all that look the same as the best.

    Args:
        columns: The columns.
        rows: The rows.
        decimals: Of all numbers but probabilities, which have 3. Default 2: scores in per cent.
        lower_is_better: True for losses. Default False.
    """
    lines = [["run", "runs", *columns], ["---", *["---:"] * (len(columns) + 1)]]
    lines += [[row.name.replace("|", "\\|"), str(row.runs)] for row in rows]
    for column in columns:
        digits = 3 if column.startswith(PROBABILITY) else decimals
        best = _best(column, rows, digits, min if lower_is_better else max)
        for line, row in zip(lines[2:], rows, strict=True):
            line.append(_text(row.cells.get(column), row.runs, best, digits))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_csv(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Returns the numbers unrounded: mean, standard deviation and number of runs of each column.

    Args:
        columns: The columns.
        rows: The rows.
    """
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
