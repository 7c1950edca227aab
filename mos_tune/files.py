# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Files and folders that are there as a whole or not at all."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, lines: str | Iterable[str]) -> None:
    """Write a text file, so that who finds it finds all of it, even after a power cut.

    Until it is complete it stands beside ``path`` under a name of this process. A file there before
    is replaced, and stays as it is if this one cannot be written.

    Args:
        path (Path): the file; its folder is made if it is missing.
        lines (str | Iterable[str]): the content, or parts of it in order; they may be made while
            they are written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished(path)
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            file.writelines([lines] if isinstance(lines, str) else lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes ``path`` once all went well.

    Until then it stands beside it under a name of this process, and it is removed if the block
    fails. So a folder that exists was finished.

    Args:
        path (Path): the folder to make; it does not exist.
    """
    unfinished = _unfinished(path)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def let_others_read(path: Path) -> None:
    """Give a file the permissions that ``open`` would have given it, by the user's umask.

    safetensors makes files that are for their owner alone.
    """
    reference = _unfinished(path)
    reference.touch()
    path.chmod(reference.stat().st_mode & 0o777)
    reference.unlink()


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
