# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Prints how much a run has lowered the perplexity of each dataset's held-out responses.

    mos-tune perplexities output/tiny_llama3_mos
    mos-tune perplexities output/smollm2_135M_mos > perplexities.md

It reads mixture.jsonl, and needs no model. The perplexity of a dataset is exp(held-out loss), and
that loss is the mean over the response tokens of all its held-out examples. It is not the mean of
the examples' perplexities, whose largest few would decide it. Nor is the ratio after / before the
difficulty reward (Eq. 10), which is the mean of the ratios of single training examples.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from mos_tune.errors import UserError
from mos_tune.training.picture_data import MEAN, read_curves


def perplexities(output_dir: Path) -> tuple[int, dict[str, tuple[float, float]]]:
    """Returns the perplexities of the held-out responses before training and at the end.

    Args:
        output_dir: Of a run with held-out losses, finished or not.

    Returns:
        The optimizer step of the last held-out losses, and the perplexities before step 1 and after
        that step by dataset.

    Raises:
        UserError: If there are no held-out losses, or only those before training.
    """
    file = output_dir / "mixture.jsonl"
    losses = read_curves(file).losses
    if not losses or losses[0][0] != 0 or losses[-1][0] == 0:
        steps = ", ".join(str(step) for step, _ in losses) or "no step"
        raise UserError(
            f"{file} has held-out losses of {steps}; those of step 0 and of a later one are needed"
        )
    (_, before), (last_step, after) = losses[0], losses[-1]
    names = [name for name in before if name != MEAN]
    return last_step, {name: (math.exp(before[name]), math.exp(after[name])) for name in names}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(
        prog="mos-tune perplexities",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path)
    options = parser.parse_args(arguments)
    try:
        step, found = perplexities(options.output_dir)
    except UserError as error:
        sys.exit(f"mos-tune stopped: {error}")
    print(f"| dataset | PPL before | PPL after {step} steps | after / before |")
    print("|---|---:|---:|---:|")
    for name, (before, after) in found.items():
        print(f"| {name} | {before:.3f} | {after:.3f} | {after / before:.3f} |")


if __name__ == "__main__":
    main()
