# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checkpoints between two optimizer steps: written by all ranks, read on any number of them."""

from mos_tune.checkpoint.manager import StepCheckpoints
from mos_tune.checkpoint.shards import SavedStep

__all__ = ["SavedStep", "StepCheckpoints"]
