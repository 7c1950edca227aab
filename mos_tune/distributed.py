# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""This process among the others: its rank, what every one says, and whether all agree."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from mos_tune.errors import UserError

T = TypeVar("T")

log = logging.getLogger("mos_tune")
"""The package's logger: to the root's handlers if there are any, else to stderr."""


def get_world_size_and_rank() -> tuple[int, int]:
    """Give the number of processes and this one's rank; 1 and 0 without a process group."""
    if not dist.is_initialized():
        return 1, 0
    return dist.get_world_size(), dist.get_rank()


def log_rank_zero(message: str, level: int = logging.INFO) -> None:
    """Log a message once, on rank 0."""
    if get_world_size_and_rank()[1] == 0:
        if not log.hasHandlers():
            log.addHandler(logging.StreamHandler())
        log.setLevel(logging.INFO)
        log.log(level, message)


def gather(value: Any, group: Any = None) -> list[Any]:
    """Give every rank's value, in the order of ranks; called on all ranks alike.

    Args:
        value (Any): this rank's, to be pickled.
        group (Any): the process group of all ranks. Default None: training's own.
    """
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def from_rank_zero(make: Callable[[], T]) -> T:
    """Give what ``make`` gives on rank 0, where alone it is called; called on all ranks alike.

    Args:
        make (Callable[[], T]): gives something to be pickled, such as CPU tensors.

    Raises:
        UserError: on every rank, if ``make`` raises one.
    """
    if get_world_size_and_rank()[0] == 1:
        return make()
    made: list[Any] = [None, None]
    if get_world_size_and_rank()[1] == 0:
        try:
            made[0] = make()
        except UserError as error:
            made[1] = str(error)
    # torch takes the bytes over the device where the backend knows nothing of CPUs, as NCCL does.
    dist.broadcast_object_list(made, src=0)
    value, refusal = made
    if refusal is not None:
        raise UserError(refusal)
    return value


def check_ranks_agree(state: Mapping[str, Any], step: int) -> None:
    """Compare a hash of every part of ``state`` over all ranks, bit for bit.

    Args:
        state (Mapping[str, Any]): parts by name: numbers, texts, CPU tensors, and dicts and lists
            of these. Whatever the number of ranks, it must be the same everywhere.
        step (int): optimizer steps made, for the message.

    Raises:
        UserError: on every rank, naming the parts that differ and the ranks that have them
            different from most, or from rank 0.
    """
    if get_world_size_and_rank()[0] == 1:
        return
    everyone = gather({name: _hash(part) for name, part in state.items()})
    usual = Counter(tuple(other.items()) for other in everyone).most_common(1)[0][0]
    differing = [rank for rank, other in enumerate(everyone) if tuple(other.items()) != usual]
    if differing:
        right = dict(usual)
        parts = [name for name in right if any(other[name] != right[name] for other in everyone)]
        one = next(rank for rank in range(len(everyone)) if rank not in differing)
        raise UserError(
            f"after step {step}, rank {', '.join(map(str, differing))} has another "
            f"{', '.join(parts)} than rank {one}; going on would train on different mixtures. Are "
            "all ranks on the same data, hardware and software?"
        )


def _hash(value: Any) -> bytes:
    if isinstance(value, torch.Tensor):
        value = (str(value.dtype), list(value.shape), value.contiguous().numpy().tobytes())
    elif isinstance(value, Mapping):
        value = [(key, _hash(part)) for key, part in value.items()]
    elif isinstance(value, (list, tuple)):
        value = [_hash(part) for part in value]
    return hashlib.blake2b(repr(value).encode(), digest_size=8).digest()
