# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a probability can be the share of."""

UNITS = ("sequences", "tokens", "response_tokens")
"""Draws; the tokens in them; the tokens that the loss is a mean over, and so a gradient's parts."""


def other_unit(unit: str) -> str:
    """Give the unit to show beside one: response tokens, or beside these the draws."""
    return "sequences" if unit == "response_tokens" else "response_tokens"
