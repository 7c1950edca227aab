# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Proof that all ranks hold the same numbers."""

import hashlib
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def check_ranks_agree(values: Tensor, device: torch.device, what: str) -> None:
    """Compare a hash of ``values`` over all ranks, bit for bit.

    Args:
        values (Tensor): a CPU tensor that must be the same everywhere.
        device (torch.device): where the process group communicates.
        what (str): name of the values, for the message.

    Raises:
        RuntimeError: on every rank, if two ranks differ.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    digest = hashlib.blake2b(values.contiguous().numpy().tobytes(), digest_size=6).digest()
    mine = torch.tensor([int.from_bytes(digest, "little")], dtype=torch.int64, device=device)
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, mine)
    hashes = [int(other) for other in everyone]
    differing = [rank for rank, value in enumerate(hashes) if value != hashes[0]]
    if differing:
        others = ", ".join(map(str, differing))
        raise RuntimeError(
            f"{what} differ between rank 0 and rank {others}; going on would train on different "
            "mixtures. Are all ranks on the same hardware and software?"
        )


def from_all_ranks(value: Any) -> list[Any]:
    """Give every rank's value, in the order of ranks; called on all ranks alike."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
