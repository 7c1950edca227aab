# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Trains many rows of a table, one after another, and prints the table.

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

from mos_tune.checks import check_whole
from mos_tune.errors import UserError
from mos_tune.evaluation.table.text import as_csv, as_markdown
from mos_tune.shipped import CONFIGS, RECIPES
from mos_tune.sweep.plan import PlannedRun, dataset_names, planned_runs
from mos_tune.sweep.rows import read_rows
from mos_tune.sweep.running import run_all
from mos_tune.sweep.table import held_out_rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, trains or prints commands, and prints the table.

    Args:
        arguments: The command line. Default: this process's.

    Raises:
        SystemExit: If a run has failed or was stopped, or nothing can be run.
    """
    options = _parser().parse_args(arguments)
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
    columns, rows = held_out_rows(runs)
    if not rows:
        return
    markdown = as_markdown(columns, rows, decimals=3, lower_is_better=True)
    print(f"\nHeld-out losses at the end, and average probabilities (p):\n\n{markdown}")
    (directory / "table.md").write_text(f"{markdown}\n", encoding="utf-8")
    (directory / "table.csv").write_text(as_csv(columns, rows), encoding="utf-8")
    if any(any(run.directory.glob("epoch_*/results.json")) for run in runs):
        print("\nSome are evaluated: `mos-tune table` prints their scores.")


if __name__ == "__main__":
    main()
