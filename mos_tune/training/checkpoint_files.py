# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""When a step checkpoint is complete, and whether it still is as it was written."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def complete(
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
