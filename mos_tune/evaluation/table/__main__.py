# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Prints one table of evaluated runs.

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
from mos_tune.evaluation.table.rows import table_rows
from mos_tune.evaluation.table.runs import read_run
from mos_tune.evaluation.table.text import as_csv, as_markdown


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and the runs, prints the table and writes it."""
    parser = argparse.ArgumentParser(
        prog="mos-tune table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dirs", metavar="RUN_DIR", type=Path, nargs="+")
    parser.add_argument("--output", metavar="DIR", type=Path, help="where the table is written")
    options = parser.parse_args(arguments)
    try:
        columns, rows = table_rows([read_run(run_dir) for run_dir in options.run_dirs])
    except UserError as error:
        sys.exit(f"mos-tune stopped: {error}")
    markdown = as_markdown(columns, rows)
    print(markdown)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "table.md").write_text(f"{markdown}\n", encoding="utf-8")
        (options.output / "table.csv").write_text(as_csv(columns, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
