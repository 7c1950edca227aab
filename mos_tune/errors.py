# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The error that a user can mend, shown as one line without a traceback, and its checks."""

import math
from typing import Any

_EXTRAS = {"lm_eval": "eval", "openai": "eval", "gguf": "prepare", "pyarrow": "prepare"}


class UserError(ValueError):
    """A config or data file is wrong.

    The message is all the user sees, so it names the config key, the dataset and both
    values that disagree.
    """


class BadRow(UserError):
    """A row of a dataset is not what it should be.

    Args:
        message (str): names the place, and what stands there.
        reason (str): the same without place and value, by which ``on_bad_row: skip`` counts.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnusableExample(ValueError):
    """An example that can be left out without harm; the message is the reason, without numbers.

    A dataset raises it from ``__getitem__``. Before training every example is read once, and those
    that raise it are left out, counted by reason and reported with the dataset's name.
    """


def not_installed(error: ModuleNotFoundError) -> UserError:
    """Say which package is not installed, and how it comes.

    Args:
        error (ModuleNotFoundError): from importing a module of ours.

    Raises:
        ModuleNotFoundError: the same, if it is a module of ours that is missing.
    """
    package = (error.name or "").partition(".")[0]
    if package in ("", "mos_tune"):
        raise error
    extra = _EXTRAS.get(package)
    how = package if extra is None else f"'mos-tune[{extra}]'"
    return UserError(f"the package {package} is not installed; pip install {how}")


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
