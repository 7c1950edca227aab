# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Model builders in torchtune's conventions."""

from mos_tune.models.qwen1_5 import qwen1_5_0_5b
from mos_tune.models.scratch import ScratchHFCheckpointer

__all__ = ["ScratchHFCheckpointer", "qwen1_5_0_5b"]
