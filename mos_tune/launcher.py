# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""torchrun's part of ``tune run`` with one of our recipes: how it restarts, and how it ends.

torchrun ends in a traceback and code 1 whatever its workers did; here it ends in one line and
their exit code. mos_tune.recipe_advice imports this module before torch is: it must stay light.
"""

import os
import signal
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

RESUMABLE = 75
"""Exit code of a run that the same command continues: EX_TEMPFAIL of sysexits.h."""

_CAN_GO_ON = f"mos-tune: stopped by SIGTERM; resume_from_checkpoint=True goes on: code {RESUMABLE}"

_AT_ONCE = 2  # seconds; torchrun kills what does not end by itself after 30


def prepare(argv: list[str]) -> None:
    """Make restarts work, and put :func:`ending` in place of torchrun's traceback.

    Args:
        argv (list[str]): the program and its arguments.
    """
    if any(one.replace("_", "-").startswith("--max-restarts") for one in argv):
        # Else restarted workers find the addresses of those that died in the store that torchrun
        # shares with them (pytorch issue 135712), and cannot connect.
        os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # Any number of signals are one wish, and torchrun's handler would raise in here.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            end = ending(error, trace)
        except Exception:  # it reads torch's private parts; torch's own words must not get lost
            end = None
        if end is None:
            before(kind, error, trace)
            return
        line, code = end
        if line:
            print(line, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # An orderly exit may abort: the traceback keeps torchrun's store alive, and its thread.
        os._exit(code)

    sys.excepthook = hook


def ending(error: BaseException, trace: TracebackType | None) -> tuple[str, int] | None:
    """Say how the launcher ends.

    Args:
        error (BaseException): what ended it.
        trace (TracebackType | None): the error's traceback.

    Returns:
        tuple[str, int] | None: a line for the user, empty if the run has come to its end, and the
            exit code; None to leave the error as it is.
    """
    kind = type(error)
    if not kind.__module__.startswith("torch.distributed.elastic."):
        return None
    if kind.__name__ == "ChildFailedError":
        return _of_failures(vars(error)["failures"])
    if kind.__name__ == "SignalException" and vars(error)["sigval"] == signal.SIGTERM:
        return _of_sigterm(_exit_codes(error, trace))
    return None


def _of_failures(failures: Mapping[int, Any]) -> tuple[str, int] | None:
    if any(failure.exitcode == RESUMABLE for failure in failures.values()):
        return _CAN_GO_ON, RESUMABLE
    if any(failure.error_file != "<N/A>" for failure in failures.values()):
        return None  # a worker left a report, which torchrun prints
    # torchrun ends the ranks that are left: those failures follow from the first.
    start = min(failure.timestamp for failure in failures.values())
    first = {rank: one for rank, one in failures.items() if one.timestamp <= start + _AT_ONCE}
    own = {rank: one for rank, one in first.items() if one.exitcode != -signal.SIGTERM}
    killed = {rank: one for rank, one in own.items() if one.exitcode < 0}
    causes = killed or own or first
    line = ", ".join(_how(rank, one) for rank, one in sorted(causes.items()))
    code = next(iter(causes.values())).exitcode
    if any(one.exitcode == -signal.SIGKILL for one in causes.values()):
        line += "; is the machine out of memory?"
    elif code > 0:
        line += "; its output says why"
    return f"mos-tune: {line}", code if code > 0 else 128 - code


def _how(rank: int, failure: Any) -> str:
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        return f"rank {rank} (pid {failure.pid}) was killed by {name}"
    return f"rank {rank} ended with exit code {failure.exitcode}"


def _of_sigterm(codes: list[int | None]) -> tuple[str, int]:
    if RESUMABLE in codes:
        return _CAN_GO_ON, RESUMABLE
    if codes and not any(codes) and None not in codes:
        return "", 0  # the run was at its end
    line = "mos-tune stopped by SIGTERM; nothing was saved after it"
    if -signal.SIGKILL in codes:
        line += ": torchrun killed the workers before they were done (see --shutdown-timeout)"
    return line, 128 + signal.SIGTERM


def _exit_codes(error: BaseException, trace: TracebackType | None) -> list[int | None]:
    """Find torchrun's agent, which only the traceback holds, and give its workers' exit codes."""
    before = error.__context__
    while trace is not None:
        context = getattr(trace.tb_frame.f_locals.get("self"), "_pcontext", None)
        if context is not None:
            handlers: Mapping[int, Any] = context.subprocess_handlers
            return [handler.proc.poll() for handler in handlers.values()]
        trace = trace.tb_next
    # A second signal, which came when the first had left the agent.
    return [] if before is None else _exit_codes(before, before.__traceback__)
