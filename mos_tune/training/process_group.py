# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The process group of recipes whose stock class makes none."""

import os

import torch.distributed as dist
from omegaconf import DictConfig
from torchtune.training import get_distributed_backend

from mos_tune.errors import UserError


def join_process_group(cfg: DictConfig, *, single_device: bool) -> None:
    """Join the processes that the launcher started; a single device is a group of one.

    Args:
        cfg (DictConfig): the run's config.
        single_device (bool): the stock recipe knows one process only.

    Raises:
        UserError: if a single-device recipe was started on several processes.
    """
    backend = get_distributed_backend(
        cfg.device, offload_ops_to_cpu=cfg.get("fsdp_cpu_offload", False)
    )
    if not single_device:
        dist.init_process_group(backend)
        return
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise UserError(
            f"this recipe is for 1 process, but {processes} were started; use "
            "--nproc_per_node 1 or the recipe that ends in _distributed.py"
        )
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
