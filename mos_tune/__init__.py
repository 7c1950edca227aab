# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Fine-tune LLMs on a learned mixture of instruction datasets with torchtune."""

import os

__version__ = "0.1.0"

PARENT_PID = os.getppid()
"""The process that started this one, noted before torch is imported, which takes a while."""
