# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""SIGTERM, by which a machine is taken away: stop where the same command can go on."""

import os
import signal
import sys
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from mos_tune import endings


class Preemption:
    """Make SIGTERM a wish to stop, on which all ranks act after the same step.

    Until :meth:`defer` is called there is nothing to save, and the signal ends the process at
    once. Any number of signals to any of the ranks are one wish.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether this rank has got the signal."""
        self._group: Any = None
        signal.signal(signal.SIGTERM, self._on_signal)

    def defer(self, timeout: timedelta) -> None:
        """Stop only between two steps from now on; called on all ranks alike.

        Args:
            timeout (timedelta): how long a rank may keep the others waiting in :meth:`agreed`.
        """
        # A group of its own: the thread that writes checkpoints runs collectives at any time.
        self._group = dist.new_group(backend="gloo", timeout=timeout)

    def agreed(self) -> bool:
        """Tell whether any rank has got the signal; the same answer on all ranks.

        One number is reduced at every step. The stock loop reads the loss at every step, so the
        device is idle already and only the round trip counts.
        """
        asked = torch.tensor(int(self.asked))
        dist.all_reduce(asked, dist.ReduceOp.MAX, group=self._group)
        return bool(asked)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.asked = True
        if self._group is None:
            if os.environ.get("RANK", "0") == "0":
                # print could meet itself here, in the middle of another print.
                os.write(
                    sys.stderr.fileno(), b"\nmos-tune stopped by SIGTERM before the first step\n"
                )
            endings.leave(endings.RESUMABLE)
            os._exit(endings.RESUMABLE)
        endings.leave(None, "asked to stop")
