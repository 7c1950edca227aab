# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The folder of step checkpoints: which is the newest, and which may go."""

import re
import shutil
from pathlib import Path
from typing import Any

from mos_tune.distributed import gather, get_world_size_and_rank, log
from mos_tune.errors import UserError
from mos_tune.training.checkpoint_files import damage


def newest_undamaged(folder: Path, group: Any) -> Path | None:
    """Find the checkpoint to go on from, and remove what a killed run left half-written.

    A damaged checkpoint newer than that one is renamed to ``step_N.damaged``, so that training can
    write this step again; its content stays.

    Args:
        folder (Path): holds ``step_N`` folders; need not exist.
        group (Any): the process group of all ranks, which share the reading.

    Returns:
        Path | None: the newest undamaged checkpoint; None if none was ever completed.

    Raises:
        UserError: if there are checkpoints and all are damaged.
    """
    world_size, rank = get_world_size_and_rank()
    if rank == 0:
        for partial in folder.glob("step_*.partial"):
            shutil.rmtree(partial)
    damaged: dict[Path, str] = {}
    # Rank 0's list: on a network file system another rank may not see a new folder yet.
    for candidate in reversed(gather(_complete(folder), group)[0]):
        faults = gather(damage(candidate, rank, world_size), group)
        fault = next((fault for fault in faults if fault is not None), None)
        if fault is None:
            if rank == 0:
                _set_aside(damaged, candidate)
            return candidate
        damaged[candidate] = fault
    if damaged:
        faults_by_name = "; ".join(f"{path.name}: {fault}" for path, fault in damaged.items())
        raise UserError(
            f"every checkpoint in {folder} is damaged ({faults_by_name}); remove the folder to "
            "start from the beginning"
        )
    return None


def refuse_leftovers(folder: Path, group: Any) -> None:
    """Make sure that a fresh start cannot be taken for a run that was here before.

    Raises:
        UserError: if there is a complete checkpoint.
    """
    found = gather(_complete(folder), group)[0]
    if found:
        raise UserError(
            f"resume_from_checkpoint is False, but {folder} has checkpoints of an earlier run up "
            f"to {found[-1].name}: True goes on from there, another output_dir starts anew"
        )


def remove_older(folder: Path, keep_last: int) -> None:
    """Delete all complete checkpoints but the ``keep_last`` newest."""
    for old in _complete(folder)[:-keep_last]:
        # Renamed first: a deletion that is interrupted must not leave a damaged checkpoint.
        doomed = old.with_name(f"{old.name}.partial")
        old.rename(doomed)
        shutil.rmtree(doomed)


def _complete(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step_*") if re.fullmatch(r"step_\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def _set_aside(damaged: dict[Path, str], used: Path) -> None:
    for path, fault in damaged.items():
        log.warning(f"{path} is damaged: {fault}. {used.name} before it is used")
        aside = path.with_name(f"{path.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
