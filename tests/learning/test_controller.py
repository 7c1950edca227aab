# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a reward sees of a run, and what the run's record gets."""

from functools import partial

import pytest
import torch
from helpers.plain_loop import BATCH_SIZE, train
from helpers.probing import examples, probes

from mos_tune.errors import UserError
from mos_tune.rewards import Progress, Reward
from mos_tune.scorers import MLPScorer

TRAIN = {"a": examples(20, 0, vocab_size=32), "b": examples(12, 1, vocab_size=32)}


class Watching(Reward):
    """Keeps what it is told of the run."""

    signed = True

    def __init__(self, names, *, seen, **options):
        super().__init__(names, **options)
        self.seen = seen

    def measure(self, model, probes):
        self.seen.append((probes.progress, probes.progress.lr))
        return torch.tensor([-1.0, 2.0])


def test_a_reward_sees_step_draws_tokens_mixture_and_learning_rate(tmp_path):
    seen = []
    _, events = train(tmp_path, TRAIN, partial(Watching, seen=seen), lr=0.125)
    updates = [event for event in events if event["event"] == "update"]
    assert [progress.step for progress, _ in seen] == [2, 4]
    assert [lr for _, lr in seen] == [0.125] * 2
    for (progress, _), update in zip(seen, updates, strict=True):
        assert progress.draws == update["draws"] and progress.tokens == update["tokens"]
        assert sum(progress.draws.values()) == BATCH_SIZE * progress.step
        # As they are logged, and not as this scorer, which takes none below 0, gets them.
        assert update["rewards"] == {"a": -1.0, "b": 2.0}
    assert seen[0][0].probabilities.tolist() == [0.5, 0.5]
    assert seen[1][0].probabilities.tolist() == list(updates[0]["probabilities"].values())
    assert updates[0]["probabilities"]["a"] < 0.1


def test_a_learning_rate_that_is_not_known_is_said():
    progress = Progress(1, torch.ones(1), {"a": 1}, {"a": 1})
    with pytest.raises(UserError, match="learning rate is not known; give the optimizer to Mixt"):
        _ = progress.lr
    assert probes(TRAIN).progress is None


class SignalAndNoise(Reward):
    signed = True
    columns = ("signal", "noise")

    def measure(self, model, probes):
        return torch.tensor([[-1.0, 3.0], [2.0, 5.0]])


class TakesBoth(MLPScorer):
    columns = 2
    signed = True

    def learn(self, rewards, available):
        assert rewards.tolist() == [[-1.0, 3.0], [2.0, 5.0]]


def test_a_reward_of_two_numbers_reaches_its_scorer_and_the_record(tmp_path):
    _, events = train(tmp_path, TRAIN, SignalAndNoise, scorer=TakesBoth)
    update = next(event for event in events if event["event"] == "update")
    assert update["rewards"] == {"a": -1.0, "b": 2.0}
    assert update["signals"]["noise"] == {"a": 3.0, "b": 5.0}
    with pytest.raises(UserError, match="SignalAndNoise gives 2 numbers .* MLPScorer takes 1"):
        train(tmp_path, TRAIN, SignalAndNoise)
