# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""How a run's processes ended: each leaves a file, and the launcher on its machine reads it.

torchrun tells exit codes only of runs that failed, not of those that it was told to end.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

RESUMABLE = 75
"""Exit code of a run that the same command resumes: EX_TEMPFAIL of sysexits.h."""

FOLDER = "MOS_TUNE_ENDINGS"
"""Environment variable with the folder of the files. Without it none are written."""


@dataclass(frozen=True)
class Ending:
    """What one process has said of itself."""

    rank: int
    """Its global rank."""

    code: int | None
    """The exit code it was about to end with; None as long as it ran."""

    reason: str
    """One sentence; of a process that ran, empty until it was asked to stop."""


def leave(code: int | None, reason: str = "") -> None:
    """Write this process's ending, in place of what it or an earlier start of it has left.

    Args:
        code (int | None): the exit code; None if the process goes on.
        reason (str): one sentence. Default: none.
    """
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    ending = Ending(int(os.environ.get("RANK", "0")), code, reason)
    file = Path(folder, f"{ending.rank}.json")
    # A signal's handler may write one while another is being written.
    partial = file.with_suffix(f".{time.monotonic_ns()}")
    with suppress(OSError):  # on a full disk, the exit code alone must tell
        partial.write_text(json.dumps(asdict(ending)), encoding="utf-8")
        partial.replace(file)


def read(folder: Path) -> list[Ending]:
    """Read the endings of one machine's processes.

    Args:
        folder (Path): what the variable ``MOS_TUNE_ENDINGS`` named to them.

    Returns:
        list[Ending]: one for each process that has come as far as :meth:`leave`.
    """
    files = sorted(folder.glob("*.json"))
    return [Ending(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
