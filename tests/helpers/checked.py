# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Check a config in process, as the recipe does, up to where the model would be loaded."""

from types import ModuleType

import torch.distributed as dist
from omegaconf import OmegaConf
from torchtune import config

from mos_tune.training.recipe import MixtureRecipe


class ModelIsLoaded(AssertionError):
    """The config went through all checks."""


class StockUpToTheModel:
    """Stands where the stock recipe would load the model."""

    def __init__(self, cfg):
        self.seed = cfg.seed
        self.total_epochs = cfg.epochs
        self._resume_from_checkpoint = cfg.resume_from_checkpoint

    def setup(self, cfg):
        self._metric_logger = config.instantiate(cfg.metric_logger)
        raise ModelIsLoaded


class Recipe(MixtureRecipe, StockUpToTheModel):
    stock = ModuleType("stock")
    single_device = True


def check(settings):
    cfg = OmegaConf.create(settings)
    try:
        Recipe(cfg=cfg).setup(cfg=cfg)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def changed(settings, change):
    for path, value in change.items():
        *parents, last = path.split(".")
        section = settings
        for parent in parents:
            section = section[parent]
        section[last] = value
    return settings
