# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""No process outlives its launcher: what torchrun has started would train on unseen."""

import os
import sys
import time
from contextlib import suppress
from threading import Thread

import torch.distributed as dist

import mos_tune

SECONDS = 1.0
"""Between two looks."""


def end_with_launcher() -> None:
    """End this process within a second of its launcher's death, whatever that died of.

    Without a launcher nothing happens: a process may outlive the shell that started it.
    """
    if dist.is_torchelastic_launched():
        Thread(target=_watch, args=(mos_tune.PARENT_PID,), daemon=True).start()


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(SECONDS)
    with suppress(OSError):  # nobody may be reading any more
        said = f"\nmos-tune: rank {os.environ.get('RANK', '0')} ends, for its launcher is gone\n"
        os.write(sys.stderr.fileno(), said.encode())
    os._exit(1)
