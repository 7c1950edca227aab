# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from mos_tune.tables import aligned, markdown

HEADER = ["name", "loss"]
ROWS = [["a|b", "1.5"], ["sort", "12.25"]]


def test_markdown():
    assert markdown(HEADER, ROWS).splitlines() == [
        "| name | loss |",
        "|---|---:|",
        "| a\\|b | 1.5 |",
        "| sort | 12.25 |",
    ]


def test_columns_of_numbers_line_up_on_the_right():
    assert aligned(HEADER, ROWS).splitlines() == [
        "name   loss",
        "a|b     1.5",
        "sort  12.25",
    ]
