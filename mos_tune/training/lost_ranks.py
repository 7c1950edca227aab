# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
"""Which ranks no longer answer, when torch only says that a connection was closed."""

import re
import time
from contextlib import suppress

import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

SECONDS_TO_ANSWER = 10.0
"""How long a rank that has lost contact waits for the others to notice the same."""

# On a CPU torch raises plain RuntimeErrors, which begin with the place in gloo's source.
_OF_GLOO = re.compile(r"\[\S*/gloo/\S+\] ")


def is_lost_contact(error: BaseException) -> bool:
    """Tell whether an error means that a collective could not reach another rank."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and _OF_GLOO.match(str(error)) is not None


def answer(rank: int, lost_contact: bool) -> None:
    """Let the other ranks know that this one has stopped, and whether by an error of its own."""
    if dist.is_initialized():
        # The store is gone when rank 0's machine is; there is nobody to tell then.
        with suppress(RuntimeError):
            _get_default_store().set(_key(rank), "lost contact" if lost_contact else "error")


def what_happened(error: BaseException, seconds: float = SECONDS_TO_ANSWER) -> str | None:
    """Name the ranks that caused a lost contact.

    Args:
        error (BaseException): what torch raised.
        seconds (float): how long to wait for the others. Default 10, which is more than the ranks
            differ in when they notice.

    Returns:
        str | None: one sentence; None if every rank has lost contact.
    """
    if not dist.is_initialized():
        return None
    ranks = range(dist.get_world_size())
    silent = list(ranks)
    deadline = time.monotonic() + seconds
    try:
        store = _get_default_store()
        while silent and time.monotonic() < deadline:
            silent = [rank for rank in silent if not store.check([_key(rank)])]
            time.sleep(0.1)
        failed = [r for r in ranks if r not in silent and store.get(_key(r)) == b"error"]
    except RuntimeError:  # the store is gone, and it is where rank 0 is
        silent, failed = [0], []
    if failed:
        return f"{_named(failed)} stopped with an error"
    if not silent:
        return None
    # torch's own sentence, without the place in its source and the hints that follow.
    reason = _OF_GLOO.sub("", str(error).strip(), count=1).splitlines()[0].rstrip(". ")
    return f"{_named(silent)} no longer answer{'s' * (len(silent) == 1)} ({reason})"


def _named(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


def _key(rank: int) -> str:
    return f"mos_tune/stopped/{rank}"
