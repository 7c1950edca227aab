# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The loop between two optimizer steps, for any trainer: measure, smooth, learn, log."""

from mos_tune.learning.controller import MixtureController
from mos_tune.learning.early_stop import EarlyStop
from mos_tune.learning.losses import DatasetLosses, held_out_losses
from mos_tune.learning.plan import RunPlan, check_resumes

__all__ = [
    "DatasetLosses",
    "EarlyStop",
    "MixtureController",
    "RunPlan",
    "check_resumes",
    "held_out_losses",
]
