# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A folder that all ranks share, if need be over a network file system."""

import os
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from mos_tune.distributed import gather, get_world_size_and_rank
from mos_tune.errors import UserError

SECONDS = 5.0
"""How long a file of another rank may take to appear here."""


def check_shared(folder: Path, group: Any) -> None:
    """Check that every rank sees in a folder what rank 0 writes there.

    Args:
        folder (Path): as this rank names it. Rank 0 makes it if it is missing.
        group (Any): the process group of all ranks.

    Raises:
        UserError: on every rank, naming the first that does not.
    """
    rank = get_world_size_and_rank()[1]
    place = f"{folder.absolute()} on {socket.gethostname()}"
    token, first_place = gather((f".shared-{uuid.uuid4().hex}", place), group)[0]
    if rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / token).touch()
    gather(None, group)  # it is there
    seen = gather((appears(folder / token), place), group)
    if rank == 0:
        (folder / token).unlink()
    for other, (is_seen, its_place) in enumerate(seen):
        if not is_seen:
            raise UserError(
                f"checkpoint: rank {other} does not see in its output_dir, {its_place}, what rank "
                f"0 writes to {first_place}; step checkpoints need an output_dir that all nodes "
                "share, or checkpoint=null"
            )


def appears(path: Path, seconds: float = SECONDS) -> bool:
    """Wait for a file of another rank, which a network file system may show a little later.

    Args:
        path (Path): the file.
        seconds (float): how long. Default 5.

    Returns:
        bool: whether it is there.
    """
    deadline = time.monotonic() + seconds
    while not _is_there(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _is_there(path: Path) -> bool:
    if path.exists():
        return True
    # NFS remembers which names were not there; to open a folder makes it look again.
    for folder in reversed(path.parents):
        with suppress(OSError):
            os.close(os.open(folder, os.O_RDONLY))
    return path.exists()
