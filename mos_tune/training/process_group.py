# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The process group of a recipe."""

import os
from datetime import timedelta
from types import ModuleType

import torch.distributed as dist
from omegaconf import DictConfig
from torchtune.training import get_distributed_backend

from mos_tune.errors import UserError


def join_process_group(
    cfg: DictConfig, stock: ModuleType, *, single_device: bool, timeout: timedelta
) -> None:
    """Join the processes that the launcher started; a single device is a group of one.

    One of torchtune's recipes makes the group itself, and without a timeout, one leaves it to its
    entry point, and two have none.

    Args:
        cfg (DictConfig): the run's config.
        stock (ModuleType): our private copy of the recipe's module.
        single_device (bool): the stock recipe knows one process only.
        timeout (timedelta): after it, a collective that misses a rank fails.

    Raises:
        UserError: if a single-device recipe was started on several processes.
    """
    backend = get_distributed_backend(
        cfg.device, offload_ops_to_cpu=cfg.get("fsdp_cpu_offload", False)
    )
    if single_device:
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        if processes > 1:
            raise UserError(
                f"this recipe is for 1 process, but {processes} were started; use "
                "--nproc_per_node 1 or the recipe that ends in _distributed.py"
            )
        dist.init_process_group(
            backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timeout
        )
    else:
        dist.init_process_group(backend, timeout=timeout)
    # The stock constructor's own call comes too late.
    vars(stock)["init_process_group"] = lambda backend: None
