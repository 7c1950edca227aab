# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Draw mixture.png from mixture.jsonl, also of a run that is unfinished or long over.

    mos-tune picture output/tiny_llama3_mos/mixture.jsonl
    mos-tune picture output/tiny_llama3_mos/mixture.jsonl for_the_paper.png

The file is in the run's output_dir.
"""

import argparse
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mos_tune.errors import UserError
from mos_tune.metrics.curves import MEAN, Curve, RunCurves, read_curves
from mos_tune.metrics.picture_labels import FONT_SIZE, LABEL_HEIGHT, label_line_ends
from mos_tune.mixture import other_unit

# From dark to light, so that they differ in grey too; after Paul Tol's schemes, which
# readers with any common colour-vision deficiency can tell apart. Dashes and markers back them.
_COLOURS = ("#332288", "#882255", "#228833", "#CC6677", "#55BBAA", "#E0B040")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = "os^DvPX"
_MOST_NAMED = 10
_UNNAMED = {"color": "0.8", "linewidth": 0.6, "zorder": 1}


def draw_mixture(mixture_jsonl: Path, picture: Path) -> None:
    """Draw the picture of a run: mixture, rewards and held-out losses.

    Args:
        mixture_jsonl (Path): the run's mixture.jsonl. A last line that a killed run left unfinished
            is ignored.
        picture (Path): the PNG to write; it is touched only once the new one is complete.

    Raises:
        UserError: if the file is missing, has no start event, or has a line that is not an event.
    """
    figure = mixture_figure(read_curves(mixture_jsonl))
    png = io.BytesIO()
    FigureCanvasAgg(figure).print_png(png)
    picture.write_bytes(png.getvalue())


def mixture_figure(run: RunCurves) -> Figure:
    """Draw the learned mixture, the rewards and the held-out losses over the optimizer steps.

    Args:
        run (RunCurves): the curves. Without rewards or held-out losses the panel is left out. Of
            more than ten datasets, the ten with the largest probability at the end are named.

    Returns:
        Figure: 7 inches wide, one panel below the other, with labels at the ends of the lines.
    """
    smoothed = run.raw_rewards != run.rewards
    units = {"sequences": f"{run.unit} drawn", "response_tokens": "response tokens"}
    share = units.get(run.share_of, run.share_of)
    panels: list[tuple[str, str, Curve]] = [
        ("Mixture", f"probability\n(share of {share})", run.probabilities)
    ]
    if run.lengths:
        other = other_unit(run.share_of)
        panels.append(("The same in other terms", f"share of {units[other]}", run.shares(other)))
    mixtures = [curve for _, _, curve in panels]
    if run.rewards:
        panels.append(("Reward", "reward" + "\n(thin: not smoothed)" * smoothed, run.rewards))
    if run.losses:
        panels.append(("Held-out loss", "nats per response token", run.losses))

    looks = _looks(run)
    panel_height = max(1.8, LABEL_HEIGHT * (len(looks) + 2))
    figure = Figure(figsize=(7.0, 0.5 + panel_height * len(panels)), dpi=200, layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, unit, curve) in zip(axes, panels, strict=True):
        _dress(axis, title, unit)
        if curve is run.rewards and smoothed:
            _draw_faintly(axis, run.raw_rewards, looks)
        # A probability holds from its update to the next; the other values belong to one step.
        held = any(curve is mixture for mixture in mixtures)
        _draw(axis, curve, looks, run.last_step if held else None)
        if held:
            axis.set_ylim(0, 1.08 * max(max(values.values()) for _, values in curve))
    axes[-1].set_xlim(0, max(run.last_step, 1))
    axes[-1].set_xlabel("optimizer step", fontsize=FONT_SIZE)
    if len(run.names) > _MOST_NAMED:
        note = f"{_MOST_NAMED} of {len(run.names)} datasets named: the most probable at the end"
        axes[0].set_title(note, loc="right", fontsize=FONT_SIZE - 1, color="0.35")
    figure.draw_without_rendering()  # settles the panels' heights, which the labels need
    for axis, (_, _, curve) in zip(axes, panels, strict=True):
        label_line_ends(axis, *curve[-1], looks)
    return figure


def _looks(run: RunCurves) -> dict[str, dict[str, Any]]:
    """Give the line style of each dataset that is drawn in colour and named, in the run's order."""
    last = run.probabilities[-1][1]
    most_probable = sorted(run.names, key=lambda name: -last[name])[:_MOST_NAMED]
    named = [name for name in run.names if name in most_probable]
    spread = max(1, min(len(named), len(_COLOURS)) - 1)  # few datasets use the whole grey range
    looks: dict[str, dict[str, Any]] = {
        name: {
            "color": _COLOURS[round(index * (len(_COLOURS) - 1) / spread) % len(_COLOURS)],
            "linestyle": _DASHES[index % len(_DASHES)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "markersize": 3.5,
            "linewidth": 1.4,
            "zorder": 3,
        }
        for index, name in enumerate(named)
    }
    held_out = run.losses[-1][1] if run.losses else {}
    for index, name in enumerate(sorted(held_out.keys() - {*run.names, MEAN})):  # only measured
        dashes = _DASHES[1 + index % (len(_DASHES) - 1)]
        looks[name] = {"color": "black", "linestyle": dashes, "linewidth": 0.8, "zorder": 4}
    return looks | {MEAN: {"color": "black", "linewidth": 0.8, "zorder": 4}}


def _dress(axis: Axes, title: str, unit: str) -> None:
    axis.set_title(title, loc="left", fontsize=FONT_SIZE + 1, fontweight="bold")
    axis.set_ylabel(unit, fontsize=FONT_SIZE)
    axis.tick_params(labelsize=FONT_SIZE - 1)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 2.5, 5, 10]))


def _draw(
    axis: Axes,
    curve: Curve,
    looks: Mapping[str, Mapping[str, Any]],
    held_until: int | None,
) -> None:
    steps = [step for step, _ in curve]
    stride = max(1, len(steps) // 8)
    for name in curve[-1][1]:
        look = looks.get(name, _UNNAMED)
        values = [values[name] for _, values in curve]
        # Lines that run together show their markers in turn.
        first = list(looks).index(name) % stride if name in looks else 0
        markers = slice(first, len(steps), stride)
        if held_until is None:
            axis.plot(steps, values, markevery=markers, clip_on=False, **look)
        else:
            ends = ([*steps, held_until], [*values, values[-1]])
            axis.plot(*ends, drawstyle="steps-post", markevery=markers, clip_on=False, **look)


def _draw_faintly(axis: Axes, curve: Curve, looks: Mapping[str, Mapping[str, Any]]) -> None:
    steps = [step for step, _ in curve]
    for name in curve[-1][1].keys() & looks.keys():
        look = {**looks[name], "linewidth": 0.6, "alpha": 0.5, "marker": "", "zorder": 2}
        axis.plot(steps, [values[name] for _, values in curve], **look)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(
        prog="mos-tune picture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("mixture_jsonl", type=Path)
    parser.add_argument("png", type=Path, nargs="?", help="default: mixture.png beside the file")
    options = parser.parse_args(arguments)
    beside = options.mixture_jsonl.with_name("mixture.png")
    try:
        draw_mixture(options.mixture_jsonl, options.png or beside)
    except UserError as error:
        parser.exit(1, f"{error}\n")
