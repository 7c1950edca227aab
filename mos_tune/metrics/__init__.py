# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a run leaves about its mixture, and what reads it: record, curves, picture."""

from mos_tune.metrics.curves import RunCurves, read_curves
from mos_tune.metrics.record import MixtureRecord

__all__ = ["MixtureRecord", "RunCurves", "read_curves"]
