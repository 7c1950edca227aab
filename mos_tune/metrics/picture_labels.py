# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Labels at line ends: they say which line is which without a legend to look up."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

FONT_SIZE = 8.0
"""Of the picture's text, in points."""

LABEL_HEIGHT = 11 / 72
"""Of one label with the space around it, in inches."""

_LONGEST_NAME = 24


def label_line_ends(
    axis: Axes,
    step: int,
    last: Mapping[str, float],
    looks: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write name and last value to the right of each line's end, without overlaps.

    A piece of the line stands before its name, so that it is found in grey too.

    Args:
        axis (Axes): a panel whose height and ranges are settled.
        step (int): where the lines end.
        last (Mapping[str, float]): their values there.
        looks (Mapping[str, Mapping[str, Any]]): keyword arguments of the line, for every name
            that gets a label.
    """
    names = sorted((name for name in last if name in looks), key=lambda name: last[name])
    left, right = axis.get_xlim()
    low, high = axis.get_ylim()
    ends = [(last[name] - low) / (high - low) for name in names]
    gap = LABEL_HEIGHT * axis.figure.dpi / axis.get_window_extent().height
    for name, end, height in zip(names, ends, spread_out(ends, gap), strict=True):
        look = looks[name]
        thin = {"color": look["color"], "linewidth": 0.5}
        leader = ([(step - left) / (right - left), 1.005, 1.035], [end, end, height], thin)
        sample = ([1.04, 1.06, 1.08], [height] * 3, {**look, "markevery": [1]})
        for x, y, style in (leader, sample):
            axis.add_artist(Line2D(x, y, transform=axis.transAxes, clip_on=False, **style))
        shown = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        text = f"{shown} {last[name]:.3f}"
        label = axis.text(1.09, height, text, transform=axis.transAxes, fontsize=FONT_SIZE)
        label.set(verticalalignment="center", parse_math=False)


def spread_out(wanted: Sequence[float], gap: float) -> list[float]:
    """Move ascending heights within ``[0, 1]`` as little as possible until ``gap`` parts them.

    Args:
        wanted (Sequence[float]): where the labels would stand, ascending.
        gap (float): the least distance of two neighbours.

    Returns:
        list[float]: ascending heights; they stay within ``[0, 1]`` where that holds all of them.
    """
    groups: list[list[float]] = []  # labels that touch stand around the mean of their wishes
    for index, height in enumerate(wanted):
        groups.append([height - index * gap])
        while len(groups) > 1 and _mean(groups[-2]) >= _mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    top = 1 - (len(wanted) - 1) * gap
    starts = [max(0.0, min(_mean(group), top)) for group in groups for _ in group]
    return [start + index * gap for index, start in enumerate(starts)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
