# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
from matplotlib.figure import Figure

from mos_tune.metrics.picture_labels import label_line_ends, spread_out


def test_labels_that_have_room_stay():
    assert spread_out([0.1, 0.4, 0.9], 0.2) == pytest.approx([0.1, 0.4, 0.9])


def test_labels_that_touch_share_the_way():
    assert spread_out([0.5, 0.5], 0.2) == pytest.approx([0.4, 0.6])


def test_a_moved_label_pushes_the_next():
    assert spread_out([0.4, 0.4, 0.55], 0.2) == pytest.approx([0.25, 0.45, 0.65])


@pytest.mark.parametrize("height", [0.0, 1.0])
def test_labels_stay_inside(height):
    heights = spread_out([height] * 4, 0.1)
    assert min(heights) >= 0
    assert max(heights) <= 1
    gaps = [upper - lower for lower, upper in zip(heights, heights[1:], strict=False)]
    assert gaps == pytest.approx([0.1] * 3)


def test_no_label():
    assert spread_out([], 0.1) == []


def test_texts_do_not_overlap_and_say_the_value():
    figure = Figure(figsize=(7, 2))
    axis = figure.subplots()
    axis.set_ylim(0, 1)
    last = {"medicine": 0.25, "mathematics": 0.25, "costs $5 or $6": 0.26, "x" * 30: 0.24}
    label_line_ends(axis, 1, last, {name: {"color": "black"} for name in last})
    figure.draw_without_rendering()
    texts = sorted(axis.texts, key=lambda text: text.get_window_extent().y0)
    extents = [text.get_window_extent() for text in texts]
    assert all(a.y1 <= b.y0 for a, b in zip(extents, extents[1:], strict=False))
    shown = [text.get_text() for text in texts]
    assert shown == ["x" * 23 + "… 0.240", "medicine 0.250", "mathematics 0.250"] + [
        "costs $5 or $6 0.260"
    ]
