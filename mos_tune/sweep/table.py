# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The results of a sweep: held-out losses at the end of its runs."""

from collections.abc import Sequence

from mos_tune.evaluation.table.rows import PROBABILITY, Row, cells
from mos_tune.metrics.curves import MEAN, read_curves
from mos_tune.sweep.plan import PlannedRun


def held_out_rows(runs: Sequence[PlannedRun]) -> tuple[list[str], list[Row]]:
    """Returns the columns and rows of a table of the runs that have ended.

    The columns are each dataset's held-out loss at the end, in nats per response token, their mean,
    and each dataset's average probability over the steps. What a run has not measured is missing.

    Args:
        runs: Of any number of rows and seeds; those of one row stand together.
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
    rows = [
        Row(name=name, runs=len(measured), cells=cells(measured))
        for name, measured in by_row.items()
    ]
    return list(dict.fromkeys(column for row in rows for column in row.cells)), rows
