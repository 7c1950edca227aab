# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from datetime import timedelta
from types import ModuleType

import torch
import torch.distributed as dist
from omegaconf import OmegaConf

from mos_tune.training.process_group import join_process_group


def test_ranks_wait_as_long_as_asked_for():
    cfg, timeout = OmegaConf.create({"device": "cpu"}), timedelta(seconds=7)
    join_process_group(cfg, ModuleType("stock"), single_device=True, timeout=timeout)
    try:
        assert dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout == timeout
    finally:
        dist.destroy_process_group()
