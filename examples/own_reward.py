# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A reward and a scorer of one's own; docs/own_reward.md says how a run uses them."""

import torch

from mos_tune.rewards import Reward


class LongAnswers(Reward):
    """Mean number of response tokens."""

    def measure(self, model, probes):
        lengths = probes.mean(lambda batch: (batch.labels != -100).sum(dim=1, keepdim=True))
        return lengths[:, 0]


class RewardShares(torch.nn.Module):
    """p = R / sum(R) at every update."""

    def __init__(self, prior, *, seed, update_every=100):
        super().__init__()
        self.update_every = update_every
        self.register_buffer("shares", prior.clone())

    def probabilities(self, available):
        return self.shares * available / (self.shares * available).sum()

    def learn(self, rewards, available):
        self.shares = rewards.clamp_min(1e-6)
