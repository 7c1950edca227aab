# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Print one table of evaluated runs.

    mos-tune table output/smollm2_135M_mos
    mos-tune table output/sweep/llama3_8B_mos/*/seed_* --output output/tables

RUN_DIR is a checkpoint's folder with a results.json, or the output_dir of a run of which one
checkpoint was evaluated. Runs of one name, such as the seeds of one config, share a row: mean and
standard deviation. With --output, DIR gets table.md and table.csv.

The columns are those of the paper's Table 2: MMLU in three groups and over all 57 subjects, each
subject counting the same (per cent); MT-bench (1 to 10); mu, the mean of MMLU and ten times
MT-bench. Where they were measured, GSM8K and MATH follow, and each dataset's average probability.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mos_tune.errors import UserError
from mos_tune.evaluation.evaluated_run import PAPER, SPECIALISTS, Run, read_run
from mos_tune.files import write_whole
from mos_tune.tables import PROBABILITY, Row, row_of, runs_as_csv, runs_as_markdown


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and the runs, print the table and write it."""
    parser = argparse.ArgumentParser(
        prog="mos-tune table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dirs", metavar="RUN_DIR", type=Path, nargs="+")
    parser.add_argument("--output", metavar="DIR", type=Path, help="where the table is written")
    options = parser.parse_args(argv)
    try:
        columns, rows = table_rows([read_run(run_dir) for run_dir in options.run_dirs])
    except UserError as error:
        sys.exit(f"mos-tune stopped: {error}")
    markdown = runs_as_markdown(columns, rows)
    print(markdown)
    if options.output:
        write_whole(options.output / "table.md", f"{markdown}\n")
        write_whole(options.output / "table.csv", runs_as_csv(columns, rows))


def table_rows(runs: Sequence[Run]) -> tuple[list[str], list[Row]]:
    """Give the table's columns and rows, the rows in the order of their first runs.

    Args:
        runs (Sequence[Run]): the runs.

    Raises:
        UserError: if a column's scores were measured with different settings, or one checkpoint
            was given twice.
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
    rows = [row_of(name, [_values(run) for run in group]) for name, group in by_name.items()]
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
