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


HELD_OUT = {name: examples(4, seed, vocab_size=32) for seed, name in enumerate("abt", start=5)}


def validations(folder, **options):
    _, events = train(folder, TRAIN, held_out=HELD_OUT, **options)
    assert (folder / "mixture.png").exists()
    return [event for event in events if event["event"] == "validation"]


def test_the_objective_weighs_the_mean_and_not_what_is_trained(tmp_path):
    equal = validations(tmp_path / "equal")
    weighed = validations(tmp_path / "weighed", objective={"t": 3.0, "b": 1.0})
    for one, other in zip(equal, weighed, strict=True):
        losses = one["losses"]
        assert list(losses) == ["a", "b", "t"] and other["losses"] == losses
        assert one["mean"] == pytest.approx(sum(losses.values()) / 3)
        assert other["mean"] == pytest.approx((3 * losses["t"] + losses["b"]) / 4)


class TakesHeldOut(Reward):
    uses_held_out = True

    def measure(self, model, probes):
        assert probes.names == ["a", "b"]
        named = None if probes.held_out is None else probes.held_out.names
        assert named == self.expected and probes.objective == self.objective
        return torch.ones(2)


def test_a_reward_that_uses_held_out_sets_gets_those_that_there_are(tmp_path):
    TakesHeldOut.expected, TakesHeldOut.objective = None, {}
    train(tmp_path, TRAIN, TakesHeldOut)
    TakesHeldOut.expected, TakesHeldOut.objective = ["a", "b", "t"], {"t": 1.0}
    train(tmp_path, TRAIN, TakesHeldOut, held_out=HELD_OUT, objective={"t": 1.0})
