# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Components to build from a config."""

import os
import signal
import time
from pathlib import Path

from torchtune.training.metric_logging import DiskLogger

from mos_tune.errors import UserError


def picky(names, *, size=3, seed):
    if size > 9:
        raise UserError(f"size must be at most 9, got {size}")
    return names, size, seed


def open_ended(names, **options):
    raise OSError(f"no file {options['file']}")


def causing():
    raise RuntimeError("in short") from OSError("disk gone")


def rows_dataset(tokenizer, *, rows):
    return rows


class DyingLogger(DiskLogger):
    """Kill its process at a training step, once a file is there if one is named."""

    def __init__(self, *, die_at: int, after: str | None = None, **options):
        super().__init__(**options)
        self._die_at = die_at
        self._after = None if after is None else Path(after)

    def log_dict(self, payload, step):
        super().log_dict(payload, step)
        self._file.flush()
        if step == self._die_at and "loss" in payload:
            deadline = time.monotonic() + 20
            while self._after and not self._after.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
