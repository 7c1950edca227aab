# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Run a function on several gloo ranks of this machine."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _work(rank: int, world_size: int, port: int, fn: Callable, arguments: tuple, out: str) -> None:
    torch.set_num_threads(1)
    written = os.open(f"{out}/{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(written, 1)
    os.dup2(written, 2)
    store = dist.TCPStore("127.0.0.1", port)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    torch.save(fn(rank, world_size, *arguments), f"{out}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def on_ranks(world_size: int, fn: Callable, directory: Path, *arguments: Any) -> list[Any]:
    """Give what ``fn(rank, world_size, *arguments)`` returns on every rank.

    What a rank prints is in ``directory/RANK.log``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    # A server that has torchtune imported and forks: importing takes longer than all else here.
    multiprocessing.set_forkserver_preload(["torchtune.training"])
    # As with torchrun, the store is the parent's. Its port is the one that the system gave it:
    # one that is looked for first may be another's when a rank comes to open it.
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    mp.start_processes(
        _work,
        (world_size, store.port, fn, arguments, str(directory)),
        nprocs=world_size,
        start_method="forkserver",
    )
    return [torch.load(directory / f"{rank}.pt") for rank in range(world_size)]
