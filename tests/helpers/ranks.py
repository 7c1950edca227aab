# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Run a function on several gloo ranks of this machine."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _work(rank: int, world_size: int, port: int, fn: Callable, arguments: tuple, out: str) -> None:
    torch.set_num_threads(1)
    written = os.open(f"{out}/{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(written, 1)
    os.dup2(written, 2)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size
    )
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
    mp.start_processes(
        _work,
        (world_size, _free_port(), fn, arguments, str(directory)),
        nprocs=world_size,
        start_method="forkserver",
    )
    return [torch.load(directory / f"{rank}.pt") for rank in range(world_size)]
