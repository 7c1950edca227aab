# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The folder of step checkpoints: which are complete, undamaged, the newest, and which may go."""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mos_tune.distributed import gather, get_world_size_and_rank, log_rank_zero
from mos_tune.errors import UserError

MANIFEST = "manifest.json"
FORMAT = 2

_READ_AT_ONCE = 1 << 24


def fingerprint(path: Path) -> dict[str, Any]:
    """Give a file's size and checksum, as the manifest holds them."""
    digest = hashlib.blake2b(digest_size=16)
    size = 0
    with open(path, "rb") as file:
        while block := file.read(_READ_AT_ONCE):
            digest.update(block)
            size += len(block)
    return {"bytes": size, "blake2b": digest.hexdigest()}


def publish(
    written: Path, final: Path, files: Mapping[str, Mapping[str, Any]], **about: Any
) -> None:
    """Add the manifest and give the folder its final name, which only complete ones bear.

    Args:
        written (Path): the folder under its temporary name, with all files on disk.
        final (Path): its name from now on. A folder there, known to be damaged, is replaced.
        files (Mapping[str, Mapping[str, Any]]): :func:`fingerprint` of every file by name.
        **about (Any): what else the manifest tells.
    """
    manifest = {"format": FORMAT, **about, "files": dict(sorted(files.items()))}
    with open(written / MANIFEST, "w", encoding="utf-8") as file:
        json.dump(manifest, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(written)
    if final.exists():
        shutil.rmtree(final)
    os.rename(written, final)
    _sync_folder(final.parent)


def damage(folder: Path, rank: int = 0, world_size: int = 1) -> str | None:
    """Tell what is wrong with a complete checkpoint.

    Args:
        folder (Path): the checkpoint.
        rank (int): of the files, this process reads every ``world_size``-th. Default 0.
        world_size (int): number of processes that share the reading. Default 1.

    Returns:
        str | None: the first fault found, None if there is none.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return f"{MANIFEST} has format {manifest['format']}, this version reads {FORMAT}"
        for name in list(manifest["files"])[rank::world_size]:
            expected = manifest["files"][name]
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != expected["bytes"]:
                return f"{name} has {path.stat().st_size} bytes instead of {expected['bytes']}"
            if fingerprint(path) != expected:
                return f"{name} has another checksum than when it was written"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except OSError as error:
        return f"it cannot be read ({error})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None


def _sync_folder(folder: Path) -> None:
    # A rename outlives a power cut only once its folder is on disk.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    for candidate in reversed(gather(_complete_steps(folder), group)[0]):
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
            f"every checkpoint in {folder} is damaged ({faults_by_name}); move it away to "
            "start from the beginning"
        )
    return None


def refuse_leftovers(folder: Path, group: Any) -> None:
    """Make sure that a fresh start cannot be taken for a run that was here before.

    Raises:
        UserError: if there is a complete checkpoint.
    """
    found = gather(_complete_steps(folder), group)[0]
    if found:
        raise UserError(
            f"resume_from_checkpoint is False, but {folder} has checkpoints of an earlier run up "
            f"to {found[-1].name}: True goes on from there, another output_dir starts anew"
        )


def remove_older(folder: Path, keep_last: int) -> None:
    """Delete all complete checkpoints but the ``keep_last`` newest."""
    for old in _complete_steps(folder)[:-keep_last]:
        # Renamed first: a deletion that is interrupted must not leave a damaged checkpoint.
        doomed = old.with_name(f"{old.name}.partial")
        old.rename(doomed)
        shutil.rmtree(doomed)


def _complete_steps(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step_*") if re.fullmatch(r"step_\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def _set_aside(damaged: dict[Path, str], used: Path) -> None:
    for path, fault in damaged.items():
        log_rank_zero(f"{path} is damaged: {fault}. {used.name} before it is used", logging.WARNING)
        aside = path.with_name(f"{path.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
