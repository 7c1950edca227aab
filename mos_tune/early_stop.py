# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Print the passes after which each dataset of a run had its best held-out loss, as overrides.

    mos-tune early-stop output/tiny_llama3_mos
    mos-tune early-stop output/tiny_llama3_mos > limits
    mos-tune run full_finetune_mos_distributed --config tiny_llama3_mos $(cat limits)

What goes to the standard output is dataset.NAME.max_epochs=PASSES, one a line, for every dataset
whose held-out loss rose again before the end of the run; the losses go to the other output. Passes
are rounded to whole ones, at least 1. It reads mixture.jsonl, and needs no model.

Source: mSFT (arXiv 2603.21606), where one ordinary run's peaks as limits of a second run bring most
of the gain of stopping one dataset after the other.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mos_tune.errors import UserError
from mos_tune.metrics.curves import read_curves


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Where a dataset's held-out loss was best.

    Attributes:
        step (int): optimizer step.
        loss (float): nats per response token.
        last (float): the loss at the end.
        epochs (float): passes over the dataset until then.
        max_epochs (int | None): the limit to set; None where the best loss is the last one.
    """

    step: int
    loss: float
    last: float
    epochs: float
    max_epochs: int | None


def peaks(output_dir: Path) -> dict[str, Peak]:
    """Find each dataset's best held-out loss.

    Args:
        output_dir (Path): of a run with held-out losses, finished or not.

    Raises:
        UserError: if there are no held-out losses, or they do not come with passes.
    """
    file = output_dir / "mixture.jsonl"
    run = read_curves(file)
    if len(run.losses) < 2 or not run.epochs:
        raise UserError(
            f"{file} has {len(run.losses)} held-out losses and the passes until "
            f"{len(run.epochs)} of them; at least 2 are needed, with their passes"
        )
    epochs = dict(run.epochs)
    last_step, last = run.losses[-1]
    found = {}
    for name in run.names:
        step, losses = min(run.losses, key=lambda one: one[1][name])
        passes = epochs[step][name]
        found[name] = Peak(
            step=step,
            loss=losses[name],
            last=last[name],
            epochs=passes,
            max_epochs=None if step == last_step else max(1, round(passes)),
        )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and print the overrides."""
    parser = argparse.ArgumentParser(
        prog="mos-tune early-stop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path)
    options = parser.parse_args(argv)
    try:
        found = peaks(options.output_dir)
    except UserError as error:
        sys.exit(f"mos-tune stopped: {error}")
    for name, peak in found.items():
        print(
            f"{name}: best held-out loss {peak.loss:.4f} at step {peak.step} after "
            f"{peak.epochs:.2f} passes, {peak.last:.4f} at the end",
            file=sys.stderr,
        )
    for name, peak in found.items():
        if peak.max_epochs is not None:
            print(f"dataset.{name}.max_epochs={peak.max_epochs}")
