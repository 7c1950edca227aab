# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The table's rows: runs of one name together, scores of different settings kept apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from mos_tune.errors import UserError
from mos_tune.evaluation.table.runs import PAPER, SPECIALISTS, Run

PROBABILITY = "p "
"""What the column of a dataset's probability begins with."""


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


def table_rows(runs: Sequence[Run]) -> tuple[list[str], list[Row]]:
    """Returns the table's columns and rows, the rows in the order of their first runs.

    Args:
        runs: The runs.

    Raises:
        UserError: If a column's scores were measured with different settings, or one
            checkpoint was given twice.
    """
    _check_settings(runs)
    by_name: dict[str, list[Run]] = {}
    for run in runs:
        for other in by_name.setdefault(run.name, []):
            if other.fingerprint == run.fingerprint:
                raise UserError(
                    f"{other.path} and {run.path} are of the same weights of {run.name}"
                )
        by_name[run.name].append(run)
    rows = [
        Row(name=name, runs=len(group), cells=cells([_values(run) for run in group]))
        for name, group in by_name.items()
    ]
    measured = dict.fromkeys(column for row in rows for column in row.cells)
    extra = [column for column in SPECIALISTS if column in measured]
    extra += [column for column in measured if column.startswith(PROBABILITY)]
    return [*PAPER, *extra], rows


def _check_settings(runs: Sequence[Run]) -> None:
    first: dict[str, Run] = {}
    for run in runs:
        for column, measured in run.scores.items():
            other = first.setdefault(column, run)
            theirs, ours = other.scores[column].settings, measured.settings
            for setting in {**theirs, **ours}:
                if theirs.get(setting) != ours.get(setting):
                    raise UserError(
                        f"{column} cannot be compared: {setting} is {theirs.get(setting)} in "
                        f"{other.path} and {ours.get(setting)} in {run.path}"
                    )


def _values(run: Run) -> dict[str, float]:
    values = {column: measured.value for column, measured in run.scores.items()}
    values.update({f"{PROBABILITY}{name}": p for name, p in run.probabilities.items()})
    return values


def cells(runs: Sequence[Mapping[str, float]]) -> dict[str, Cell]:
    """Returns mean and standard deviation of every column that any of the runs has.

    Args:
        runs: The values of each run by column.
    """
    found = {}
    for column in dict.fromkeys(column for run in runs for column in run):
        values = [run[column] for run in runs if column in run]
        std = stdev(values) if len(values) > 1 else None
        found[column] = Cell(mean=mean(values), std=std, runs=len(values))
    return found
