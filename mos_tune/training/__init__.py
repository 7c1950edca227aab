# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The seam with torchtune's stock recipes."""

from mos_tune.training.launch import end_without, launch
from mos_tune.training.lr_schedulers import get_linear_schedule_with_warmup
from mos_tune.training.recipe import MixtureRecipe
from mos_tune.training.stock import load_stock_recipe

__all__ = [
    "MixtureRecipe",
    "end_without",
    "get_linear_schedule_with_warmup",
    "launch",
    "load_stock_recipe",
]
