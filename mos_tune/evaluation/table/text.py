# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The table as Markdown and as CSV."""

import csv
import io
from collections.abc import Sequence

from mos_tune.evaluation.table.rows import PROBABILITY, Cell, Row

_MISSING = "–"


def as_markdown(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Returns the table with mean ± standard deviation over the runs, the best in bold.

    What was not measured is a dash. ``(2 of 3)`` behind a number says that it is of two out of
    three runs. Best are all that look the same as the best.

    Args:
        columns: The columns.
        rows: The rows.
    """
    best = {column: _best(column, rows) for column in columns}
    lines = [["run", "runs", *columns], ["---", *["---:"] * (len(columns) + 1)]]
    for row in rows:
        name = row.name.replace("|", "\\|")
        cells = [_text(column, row, best[column]) for column in columns]
        lines.append([name, str(row.runs), *cells])
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


def _best(column: str, rows: Sequence[Row]) -> str | None:
    cells = [row.cells[column] for row in rows if column in row.cells]
    # No probability is better than another, and a score alone is not the best of anything.
    if column.startswith(PROBABILITY) or len(cells) < 2:
        return None
    return _number(column, max(cell.mean for cell in cells))


def _text(column: str, row: Row, best: str | None) -> str:
    cell = row.cells.get(column)
    if cell is None:
        return _MISSING
    text = _with_deviation(column, cell)
    if _number(column, cell.mean) == best:
        text = f"**{text}**"
    return text if cell.runs == row.runs else f"{text} ({cell.runs} of {row.runs})"


def _with_deviation(column: str, cell: Cell) -> str:
    mean = _number(column, cell.mean)
    return mean if cell.std is None else f"{mean} ± {_number(column, cell.std)}"


def _number(column: str, value: float) -> str:
    return f"{value:.3f}" if column.startswith(PROBABILITY) else f"{value:.2f}"
