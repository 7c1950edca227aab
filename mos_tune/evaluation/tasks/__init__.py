# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The paper's benchmarks as lm-eval tasks: MMLU in three groups, GSM8K and MATH."""

from mos_tune.evaluation.tasks.manager import task_manager

__all__ = ["task_manager"]
