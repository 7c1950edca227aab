# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The error that a user can mend: shown as one line, without a traceback."""


class UserError(ValueError):
    """A config or data file is wrong.

    The message is all the user sees, so it names the config key, the dataset and both
    values that disagree.
    """


class UnusableExample(ValueError):
    """An example that can be left out without harm; the message is the reason, without numbers.

    A dataset raises it from ``__getitem__``. Before training every example is read once, and those
    that raise it are left out, counted by reason and reported with the dataset's name.
    """
