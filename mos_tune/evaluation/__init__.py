# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Evaluation of a trained checkpoint with lm-eval."""

from mos_tune.evaluation.checkpoint import exported_checkpoint
from mos_tune.evaluation.results import read_results, write_results

__all__ = ["exported_checkpoint", "read_results", "write_results"]
