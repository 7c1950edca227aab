# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Which example comes next: prior, draws, held-out split, loader. Knows torch, not torchtune."""

from mos_tune.mixture.availability import renormalized
from mos_tune.mixture.loader import MixtureLoader
from mos_tune.mixture.prior import tempered_prior
from mos_tune.mixture.randomness import counter_based_rng, derived_seed
from mos_tune.mixture.sampler import MixtureSampler
from mos_tune.mixture.sequences import Sequences, TokenizedExamples, pad_right
from mos_tune.mixture.subsets import hold_out, probe_indices
from mos_tune.mixture.unimax import unimax
from mos_tune.mixture.units import other_unit
from mos_tune.mixture.weights import WeightSchedule

__all__ = [
    "MixtureLoader",
    "MixtureSampler",
    "Sequences",
    "TokenizedExamples",
    "WeightSchedule",
    "counter_based_rng",
    "derived_seed",
    "hold_out",
    "other_unit",
    "pad_right",
    "probe_indices",
    "renormalized",
    "tempered_prior",
    "unimax",
]
