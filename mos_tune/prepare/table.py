# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The table of counts that the preparation ends with."""

from collections.abc import Mapping

from mos_tune.prepare.dataset_writer import Counts

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


def format_counts(counts: Mapping[str, Counts]) -> str:
    """Returns a table with one line per dataset, then what skipped and contaminated consist of.

    Args:
        counts: The counts of each dataset.
    """
    rows: list[tuple[str, ...]] = [_HEADER]
    for name, c in counts.items():
        numbers = (
            c.read,
            sum(c.skipped.values()),
            sum(c.contaminated.values()),
            c.duplicates,
            c.train,
            c.held_out,
        )
        rows.append((name, *(f"{n:,}" for n in numbers), f"{c.bytes / 2**20:.1f}"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    for name, c in counts.items():
        reasons = [f"{n:,} {reason}" for reason, n in c.skipped.items()]
        reasons += [f"{n:,} also in {evaluation}" for evaluation, n in c.contaminated.items()]
        if reasons:
            lines.append(f"{name}: dropped {', '.join(reasons)}")
    return "\n".join(lines)
