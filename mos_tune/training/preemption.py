# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""Signals by which a machine is taken away: stop where the same command can go on."""

import os
import signal
import sys
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

from mos_tune import endings

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Wishes to stop. The launcher passes each on as it came."""


def set_all(action: Any) -> None:
    """Set what all of ``SIGNALS`` do, in the main thread."""
    for one in SIGNALS:
        signal.signal(one, action)


class Preemption:
    """Make signals a wish to stop, on which all ranks act after the same step.

    Until :meth:`defer` is called there is nothing to save, and a signal ends the process at once.
    Any number of signals to any of the ranks are one wish; but without a launcher, which minds the
    keyboard, a second Ctrl-C ends the process at once.

    Attributes:
        asked (signal.Signals | None): the first signal that this rank has got.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._group: Any = None
        self._has_launcher = dist.is_torchelastic_launched()
        # As after nohup. What comes from a launcher is meant.
        is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        set_all(self._on_signal)
        if is_ignored and not self._has_launcher:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def defer(self, timeout: timedelta) -> None:
        """Stop only between two steps from now on; called on all ranks alike.

        Args:
            timeout (timedelta): how long a rank may keep the others waiting in :meth:`agreed`.
        """
        # A group of its own: the thread that writes checkpoints runs collectives at any time.
        self._group = dist.new_group(backend="gloo", timeout=timeout)

    def agreed(self) -> signal.Signals | None:
        """Give a signal that any rank has got, the same on all ranks; None if none has.

        One number is reduced at every step. The stock loop reads the loss at every step, so the
        device is idle already and only the round trip counts.
        """
        asked = torch.tensor(0 if self.asked is None else self.asked.value)
        dist.all_reduce(asked, dist.ReduceOp.MAX, group=self._group)
        return signal.Signals(int(asked)) if asked else None

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        is_second = self.asked is not None
        # torchrun sends SIGTERM after whatever it was.
        self.asked = self.asked or signal.Signals(signum)
        if self._group is None:
            if os.environ.get("RANK", "0") == "0":
                # print could meet itself here, in the middle of another print.
                said = f"\nmos-tune stopped by {self.asked.name} before the first step\n"
                os.write(sys.stderr.fileno(), said.encode())
            endings.leave(endings.RESUMABLE)
            os._exit(endings.RESUMABLE)
        if is_second and signum == signal.SIGINT and not self._has_launcher:
            raise KeyboardInterrupt
        endings.leave(None, "asked to stop")
