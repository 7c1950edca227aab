# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Components to build from a config."""

from mos_tune.errors import UserError


def picky(names, *, size=3, seed):
    if size > 9:
        raise UserError(f"size must be at most 9, got {size}")
    return names, size, seed


def open_ended(names, **options):
    raise OSError(f"no file {options['file']}")


def rows_dataset(tokenizer, *, rows):
    return rows
