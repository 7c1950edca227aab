# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The signal: model and probe minibatches in, one number per dataset out."""

from mos_tune.rewards.base import Reward
from mos_tune.rewards.difficulty import DifficultyReward
from mos_tune.rewards.forward import (
    forward_with_head,
    hidden_states,
    measuring,
    response_log_likelihood,
)
from mos_tune.rewards.gradient import GradientReward, HeldOutGainReward
from mos_tune.rewards.gradient_signal import GradientNormReward, GradientSignalReward
from mos_tune.rewards.lookahead import LookaheadReward
from mos_tune.rewards.loss import ExcessLossReward, TrainingLossReward, mean_losses
from mos_tune.rewards.probes import ProbeBatch, Probes, Progress
from mos_tune.rewards.transferability import TransferabilityReward
from mos_tune.rewards.uncertainty import UncertaintyReward

__all__ = [
    "DifficultyReward",
    "ExcessLossReward",
    "GradientNormReward",
    "GradientReward",
    "GradientSignalReward",
    "HeldOutGainReward",
    "LookaheadReward",
    "ProbeBatch",
    "Probes",
    "Progress",
    "Reward",
    "TrainingLossReward",
    "TransferabilityReward",
    "UncertaintyReward",
    "forward_with_head",
    "hidden_states",
    "mean_losses",
    "measuring",
    "response_log_likelihood",
]
