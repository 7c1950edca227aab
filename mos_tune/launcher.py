# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""``mos-tune run``: torch's launcher, which ends here in one line and the workers' exit code.

torchrun itself ends in a traceback and code 1, whatever its workers did.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing import api as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError
from torch.distributed.run import get_args_parser
from torch.distributed.run import run as run_workers

from mos_tune import endings
from mos_tune.endings import RESUMABLE, Ending
from mos_tune.errors import UserError
from mos_tune.shipped import CLONE, CONFIGS, RECIPES

_RESUMES = "mos-tune: stopped by {}; resume_from_checkpoint=True resumes: code " + str(RESUMABLE)

_ONE_PRESS = 0.5  # seconds; some programs that start others pass on what these get anyway

_AT_ONCE = 2  # seconds; torchrun kills what does not end by itself after 30

_ABOUT = """\
Start a recipe on one or several processes.

RECIPE and CONFIG are paths, or names: of files in this folder, or else of those that come with
mos-tune (`mos-tune ls`). Options before RECIPE are torchrun's; without any, it is one process.
A component of your own is found in a file in this folder: reward=my_file.MyReward."""

_EXAMPLES = """\
examples:
  a mixture of four small generated datasets, on two processes:
    mos-tune run --nproc_per_node 2 full_finetune_mos_distributed --config tiny_llama3_mos

  a config of your own, some of it changed, on all GPUs of this machine:
    mos-tune run --nproc_per_node gpu full_finetune_mos_distributed --config mine.yaml \\
        epochs=1 reward.smoothing=0.5 ~optimizer.fused

  two machines, the same on both:
    mos-tune run --nnodes 2 --nproc_per_node 8 --rdzv_backend c10d --rdzv_endpoint HOST:29500 \\
        full_finetune_mos_distributed --config llama3_8B_mos

exit codes:
  0 at the end of the run; 75 if SIGTERM, SIGINT (Ctrl-C) or SIGHUP stopped it and the same command
  resumes it (a checkpoint section and resume_from_checkpoint=True); otherwise that of the worker
  which failed first, and 128 + N if signal N killed it; a second Ctrl-C ends it at once"""


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Args:
        arguments (Sequence[str]): what follows ``mos-tune run``.

    Raises:
        SystemExit: if the run has not come to its end.
        UserError: if recipe or config are not there.
    """
    options = _options(arguments)
    if options.max_restarts:
        # Else restarted workers find the addresses of those that died in the store that torchrun
        # shares with them (pytorch issue 135712), and cannot connect.
        os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    if CLONE is not None:
        # The workers' first place to look is the recipe's folder, and then another may come.
        path = [str(CLONE), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(path)
    line, code = _run(options)
    # Python's exit puts back the default action, by which a late signal would end it otherwise.
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    if line:
        print(line, file=sys.stderr)
    sys.exit(code)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = get_args_parser()
    parser.prog = "mos-tune run"
    parser.usage = "mos-tune run [TORCHRUN OPTIONS] RECIPE --config CONFIG [KEY=VALUE ...]"
    parser.description, parser.epilog = _ABOUT, _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    for action in parser._actions:
        if action.dest == "training_script":
            action.metavar, action.help = "RECIPE", "path or name"
        elif action.dest == "training_script_args":
            action.metavar = "--config CONFIG [KEY=VALUE ...]"
            action.help = "path or name, and changes to it"
    options = parser.parse_args(arguments)
    # No doubt about the place where one machine's processes meet, and no fixed port.
    if options.nnodes in ("1", "1:1") and not options.rdzv_endpoint:
        options.standalone = True
    if not (options.module or options.no_python):
        options.training_script = str(RECIPES.find(options.training_script))
        options.training_script_args = _with_config(options.training_script_args)
    return options


def _with_config(arguments: Sequence[str]) -> list[str]:
    # One spelling: --config=CONFIG is torchtune's, too.
    words = [
        part
        for word in arguments
        for part in (word.split("=", 1) if word.startswith("--config=") else [word])
    ]
    if "--config" not in words[:-1]:
        raise UserError("`mos-tune run RECIPE` needs --config CONFIG; `mos-tune ls` lists both")
    position = words.index("--config") + 1
    words[position] = str(CONFIGS.find(words[position]))
    return words


def _run(options: argparse.Namespace) -> tuple[str, int]:
    """Run the workers, and say how that ended: a line, empty at a run's end, and the exit code."""
    with tempfile.TemporaryDirectory(prefix="mos-tune-") as folder:
        os.environ[endings.FOLDER] = folder
        # torchrun's own handler raises at every signal, and so would leave workers that are saving.
        vars(torchrun)["_terminate_process_handler"] = _Signals(Path(folder))
        try:
            run_workers(options)
        except ChildFailedError as error:
            return of_failures(error.failures, endings.read(Path(folder)))
        except SignalException as error:
            return of_signal(error.sigval, endings.read(Path(folder)))
        except (RendezvousError, DistError, ValueError) as error:
            left = endings.read(Path(folder))
            said = next((f": rank {one.rank}: {one.reason}" for one in left if one.reason), "")
            if left:  # the workers had begun, and the launcher that holds the store ended first
                return f"mos-tune: another machine's launcher has ended{said}", 1
            return f"mos-tune: torchrun cannot start: {' '.join(str(error).split())}", 1
    return "", 0


class _Signals:
    """What the launcher does at a signal: the first is passed on, and a second Ctrl-C ends all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: float | None = None
        # As after nohup, which torchrun would undo.
        self._ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    def __call__(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number)
        if name is signal.SIGHUP and self._ignores_hangup:
            return
        now = time.monotonic()
        if self._first is None:
            self._first = now
            raise SignalException(f"got {name.name}", sigval=name)
        if name is signal.SIGINT and now > self._first + _ONE_PRESS:
            # print could meet itself here, in the middle of another print.
            os.write(sys.stderr.fileno(), b"\nmos-tune stopped by a second SIGINT\n")
            shutil.rmtree(self._folder, ignore_errors=True)
            os._exit(128 + number)  # the workers see it, and end


def of_failures(failures: Mapping[int, ProcessFailure], left: Sequence[Ending]) -> tuple[str, int]:
    """Say how a run ended of which a process failed.

    Args:
        failures (Mapping[int, ProcessFailure]): torchrun's report, by rank.
        left (Sequence[Ending]): what the processes have left.

    Returns:
        tuple[str, int]: a line for the user, and the exit code.
    """
    if any(failure.exitcode == RESUMABLE for failure in failures.values()):
        return _RESUMES.format("a signal"), RESUMABLE
    # torchrun ends the ranks that are left: those failures follow from the first.
    start = min(failure.timestamp for failure in failures.values())
    first = {rank: one for rank, one in failures.items() if one.timestamp <= start + _AT_ONCE}
    own = {rank: one for rank, one in first.items() if one.exitcode != -signal.SIGTERM}
    killed = {rank: one for rank, one in own.items() if one.exitcode < 0}
    causes = killed or own or first
    reasons = {(one.rank, one.code): one.reason for one in left}
    line = ", ".join(
        _how(rank, one, reasons.get((rank, one.exitcode), ""))
        for rank, one in sorted(causes.items())
    )
    if any(one.exitcode == -signal.SIGKILL for one in causes.values()):
        line += "; is the machine out of memory?"
    code = next(iter(causes.values())).exitcode
    return f"mos-tune: {line}", code if code > 0 else 128 - code


def _how(rank: int, failure: ProcessFailure, reason: str) -> str:
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        return f"rank {rank} (pid {failure.pid}) was killed by {name}"
    why = f": {reason}" if reason else "; its output says why"
    return f"rank {rank} ended with exit code {failure.exitcode}{why}"


def of_signal(number: signal.Signals, left: Sequence[Ending]) -> tuple[str, int]:
    """Say how a run ended when the launcher got a signal, and passed it on.

    Args:
        number (signal.Signals): the signal.
        left (Sequence[Ending]): what the processes have left.

    Returns:
        tuple[str, int]: a line for the user, empty if the run has come to its end, and the exit
            code.
    """
    codes = [one.code for one in left]
    if RESUMABLE in codes:
        return _RESUMES.format(number.name), RESUMABLE
    if codes and not any(codes) and None not in codes:
        return "", 0
    line = f"mos-tune stopped by {number.name}; nothing was saved after it"
    if any(one.code is None and one.reason for one in left):
        line += ": torchrun killed the workers before they were done (see --shutdown-timeout)"
    return line, 128 + number
