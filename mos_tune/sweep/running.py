# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Runs of a sweep, one after another."""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mos_tune.endings import RESUMABLE
from mos_tune.sweep.plan import PlannedRun

_STOPPED = (RESUMABLE, 128 + signal.SIGTERM, -signal.SIGTERM)

LOG = "run.log"
"""What a run prints, in its folder."""


def run_all(runs: Sequence[PlannedRun]) -> int:
    """Train what has not ended, and say how it went.

    Args:
        runs (Sequence[PlannedRun]): their configs are written.

    Returns:
        int: 0 if all have ended, 1 if any has failed; the code of a run that was stopped by
        SIGTERM, and then no other is started.
    """
    failures = []
    for number, run in enumerate(runs, start=1):
        head = f"[{number}/{len(runs)}] {run.row}, seed {run.seed}"
        if run.has_ended():
            print(f"{head}: ended before", flush=True)
            continue
        print(f"{head}: {run.directory / LOG}", flush=True)
        started = time.monotonic()
        code = _run(run.command(), run.directory / LOG)
        if code in _STOPPED:
            print(f"{head}: stopped, and so is the sweep", flush=True)
            return code if code > 0 else 128 - code
        if code == 0:
            print(f"{head}: ended after {time.monotonic() - started:.0f} s", flush=True)
        else:
            failures.append(f"{head}: exit code {code}. {_reason(run.directory / LOG)}")
            print(failures[-1], flush=True)
    if failures:
        print("\n".join(["\nThese failed:", *failures]), file=sys.stderr)
    return 1 if failures else 0


def _run(command: Sequence[str], log: Path) -> int:
    # The module and not the program, which need not be on the path.
    mos_tune = [sys.executable, "-m", "mos_tune.cli", *command]
    # Blocked until there is a run to hand the signal to, else it would outlive the sweep.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            mos_tune, stdout=file, stderr=subprocess.STDOUT, preexec_fn=_unblock
        ) as process,
    ):
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        _unblock()
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGTERM, before)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _reason(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.startswith("mos-tune stopped")]
    return said[-1] if said else f"{log} says why"
