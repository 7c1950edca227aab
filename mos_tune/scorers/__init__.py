# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The policy: rewards in, probabilities out. Knows torch only."""

from mos_tune.scorers.boltzmann import PriorBoltzmannScorer
from mos_tune.scorers.fixed_point import FixedPointScorer
from mos_tune.scorers.mirror import MirrorScorer
from mos_tune.scorers.mlp import MLPScorer
from mos_tune.scorers.schedule import UpdateSchedule
from mos_tune.scorers.scorer import Scorer

__all__ = [
    "FixedPointScorer",
    "MLPScorer",
    "MirrorScorer",
    "PriorBoltzmannScorer",
    "Scorer",
    "UpdateSchedule",
]
