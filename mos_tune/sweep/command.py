# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Train many rows of a table, one after another, and print the table.

    mos-tune sweep --config tiny_llama3_mos --rows sweeps/paper --processes 2
    mos-tune sweep --config mine.yaml --rows rows.yaml --seeds 0 1 --print

CONFIG, ROWS and RECIPE are paths or names, as for `mos-tune run`. ROWS is a YAML file with a name
and a list of overrides of CONFIG for each row, as sweeps/paper; an override with {dataset} is made
for each dataset. Each row runs with each seed and writes to OUTPUT/<name of CONFIG>/<row>/seed_<n>.
What has ended is skipped, and what was stopped resumes if CONFIG has a checkpoint section, so the
same command may be given again at any time. A run that fails does not keep the others from running.
The table of held-out losses is printed at the end and written to OUTPUT/<name of CONFIG>/table.md
and table.csv.

With --print nothing is trained: the commands of the runs that have not ended are printed, to be
given to a cluster. Without --print, the same command then prints the table.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mos_tune.errors import UserError, check_whole
from mos_tune.files import write_whole
from mos_tune.metrics.curves import MEAN, read_curves
from mos_tune.shipped import CONFIGS, RECIPES
from mos_tune.sweep.plan import PlannedRun, dataset_names, planned_runs
from mos_tune.sweep.rows import read_rows
from mos_tune.sweep.running import run_all
from mos_tune.tables import PROBABILITY, Row, row_of, runs_as_csv, runs_as_markdown


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, train or print commands, and print the table.

    Args:
        argv (Sequence[str] | None): the arguments. Default: this process's.

    Raises:
        SystemExit: if a run has failed or was stopped, or nothing can be run.
    """
    options = _parser().parse_args(argv)
    try:
        runs = _planned(options)
        if options.print:
            _print_commands(runs)
            return
        code = run_all(runs)
        _print_table(runs, options.output / options.config.stem)
    except UserError as error:
        sys.exit(f"mos-tune stopped: {error}")
    if code:
        sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mos-tune sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, help="what all rows share")
    parser.add_argument("--rows", required=True, help="names and overrides")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    parser.add_argument("--processes", type=int, default=1, help="of each run; default: 1")
    parser.add_argument("--only", metavar="ROW", nargs="+", help="these rows alone")
    parser.add_argument(
        "--specialist",
        metavar="DATASET",
        nargs="+",
        default=[],
        help="rows with {specialist} run for each of these datasets; default: they are left out",
    )
    parser.add_argument(
        "--selection",
        metavar="DIR",
        help="rows with {selection} train on the examples that select_examples has "
        "selected from CONFIG into this folder; default: they are left out",
    )
    parser.add_argument(
        "--overrides",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="for all rows; a row's own come after them",
    )
    parser.add_argument(
        "--recipe",
        default="full_finetune_mos_distributed",
        help="default: %(default)s",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("output/sweep"), help="default: %(default)s"
    )
    parser.add_argument("--print", action="store_true", help="print the commands, train nothing")
    return parser


def _planned(options: argparse.Namespace) -> list[PlannedRun]:
    RECIPES.find(options.recipe)
    options.config, options.rows = CONFIGS.find(options.config), CONFIGS.find(options.rows)
    check_whole("--processes", options.processes)
    datasets = dataset_names(options.config, options.overrides)
    rows = read_rows(options.rows, datasets, options.specialist, options.selection)
    unknown = [name for name in options.only or [] if name not in rows]
    if unknown:
        raise UserError(
            f"--only {unknown[0]} is no row of {options.rows}; it has {', '.join(rows)}, and those "
            "with {specialist} or {selection} only with these options"
        )
    return planned_runs(
        options.config,
        {name: rows[name] for name in options.only or rows},
        list(dict.fromkeys(options.seeds)),
        overrides=options.overrides,
        recipe=options.recipe,
        processes=options.processes,
        output=options.output / options.config.stem,
    )


def _print_commands(runs: Sequence[PlannedRun]) -> None:
    for run in runs:
        if not run.has_ended():
            print(shlex.join(["mos-tune", *run.command()]))


def _print_table(runs: Sequence[PlannedRun], directory: Path) -> None:
    columns, rows = _held_out_rows(runs)
    if not rows:
        return
    markdown = runs_as_markdown(columns, rows, decimals=3, lower_is_better=True)
    print(f"\nHeld-out losses at the end, and average probabilities (p):\n\n{markdown}")
    write_whole(directory / "table.md", f"{markdown}\n")
    write_whole(directory / "table.csv", runs_as_csv(columns, rows))
    if any(any(run.directory.glob("epoch_*/results.json")) for run in runs):
        print("\nSome are evaluated: `mos-tune table` prints their scores.")


def _held_out_rows(runs: Sequence[PlannedRun]) -> tuple[list[str], list[Row]]:
    """Give columns and rows of the runs that have ended; those of one row stand together.

    The columns are each dataset's held-out loss at the end, in nats per response token, their mean,
    and each dataset's average probability over the steps. What a run has not measured is missing.
    """
    by_row: dict[str, list[dict[str, float]]] = {}
    for run in filter(PlannedRun.has_ended, runs):
        curves = read_curves(run.directory / "mixture.jsonl")
        values = dict(curves.losses[-1][1]) if curves.losses else {}
        if MEAN in values:
            values["mean"] = values.pop(MEAN)
        assert curves.average_probabilities is not None
        values |= {f"{PROBABILITY}{name}": p for name, p in curves.average_probabilities.items()}
        by_row.setdefault(run.row, []).append(values)
    rows = [row_of(name, measured) for name, measured in by_row.items()]
    return list(dict.fromkeys(column for row in rows for column in row.cells)), rows
