# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checks of single values, for every part that has options."""

import math
from typing import Any

from mos_tune.errors import UserError


def check_whole(key: str, value: Any, low: int = 1) -> None:
    """Check that an option is a whole number; True and "1" are none.

    Args:
        key (str): the option's place in the config, for the message.
        value (Any): what the config says.
        low (int): smallest value allowed. Default 1.

    Raises:
        UserError: if it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise UserError(f"{key} must be a whole number of at least {low}, got {value!r}")


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number; True and "1.0" are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
