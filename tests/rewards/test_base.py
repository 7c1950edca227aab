# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
from helpers.probing import examples, probes
from helpers.ranks import on_ranks
from torch import nn

from mos_tune.errors import UserError
from mos_tune.rewards import Reward

NAMES = ["a", "b"]


class Scripted(Reward):
    """Gives the measurements it was told."""

    def __init__(self, measurements, **options):
        super().__init__(NAMES, **options)
        self._measurements = iter(measurements)

    def measure(self, model, probes):
        return torch.tensor(next(self._measurements))


def updates(reward, count):
    some = probes({"a": examples(1, 0), "b": examples(1, 1)})
    measured = [reward.measure(nn.Identity(), some) for _ in range(count)]
    return [(raw, reward.smooth(raw)) for raw in measured]


def test_smoothing_is_equation_11_on_the_smoothed_value():
    measurements = [[1.0, 0.2], [0.5, 0.4], [0.1, 0.9]]
    reward = Scripted(measurements, smoothing=0.9)
    expected = torch.tensor(measurements[0]).double()
    for new, (raw, smoothed) in zip(measurements, updates(reward, 3), strict=True):
        new = torch.tensor(new).double()
        if new.tolist() != expected.tolist():
            expected = 0.9 * new + 0.1 * expected
        torch.testing.assert_close(raw.double(), new)
        torch.testing.assert_close(smoothed, expected)


def test_smoothing_of_1_is_off():
    assert [
        s.tolist() for _, s in updates(Scripted([[1.0, 0.0], [0.25, 0.5]], smoothing=1.0), 2)
    ] == [
        [1.0, 0.0],
        [0.25, 0.5],
    ]


def test_negative_rewards_are_clamped_but_reported():
    raw, smoothed = updates(Scripted([[-0.5, 0.5]]), 1)[0]
    assert raw.tolist() == [-0.5, 0.5] and smoothed.tolist() == [0.0, 0.5]


class Signed(Scripted):
    signed = True
    specialises = False


class SignalAndNoise(Signed):
    columns = ("signal", "noise")


def test_a_signed_reward_is_smoothed_and_not_clamped():
    (_, first), (_, second) = updates(Signed([[-0.5, 0.5], [0.1, -0.3]], smoothing=0.9), 2)
    torch.testing.assert_close(first, torch.tensor([-0.5, 0.5]).double())
    expected = 0.9 * torch.tensor([0.1, -0.3]) + 0.1 * torch.tensor([-0.5, 0.5])
    torch.testing.assert_close(second, expected.double())


def test_several_numbers_of_each_dataset_are_smoothed_alike():
    first, second = [[-0.5, 1e6], [0.5, 2e6]], [[0.1, 3e6], [-0.3, 0.0]]
    (_, smoothed), (_, again) = updates(SignalAndNoise([first, second], smoothing=0.25), 2)
    torch.testing.assert_close(smoothed, torch.tensor(first).double())
    expected = 0.25 * torch.tensor(second) + 0.75 * torch.tensor(first)
    torch.testing.assert_close(again, expected.double())
    with pytest.raises(UserError, match="the reward of dataset.b is nan"):
        updates(SignalAndNoise([[[0.0, 1.0], [0.0, float("nan")]]]), 1)


def test_a_reward_without_a_form_for_a_specialist_refuses_one():
    with pytest.raises(UserError, match="specialist is 'b', but Signed has no form .* null"):
        Signed([], specialist="b")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_stops_with_the_datasets_name(bad):
    with pytest.raises(UserError, match=f"the reward of dataset.b is {bad}"):
        updates(Scripted([[0.5, bad]]), 1)


def test_a_restored_reward_resumes():
    first = Scripted([[1.0, 0.5], [0.3, 0.1]])
    updates(first, 1)
    second = Scripted([[0.3, 0.1]])
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(updates(second, 1), updates(first, 1))


def _on_rank(rank, world_size, difference):
    measured = (0.3, -0.1 * (1 + difference * rank))
    reward = Scripted([measured, measured], smoothing=0.3)
    try:
        return updates(reward, 2)
    except UserError as error:
        return str(error)


def test_what_ranks_measure_differs_by_rounding_alone_and_rank_0_counts(tmp_path):
    one, other = on_ranks(2, _on_rank, tmp_path / "rounding", 1e-7)
    assert all(torch.equal(mine, its) for (_, mine), (_, its) in zip(one, other, strict=True))
    assert torch.equal(one[0][1], torch.tensor((0.3, -0.1)).double().clamp_min(0))
    messages = on_ranks(2, _on_rank, tmp_path / "more", 1e-3)
    assert messages[0] == messages[1]
    assert (
        messages[0].startswith("the reward of dataset.b is -0.1001")
        and "on rank 1 and" in (messages[0])
    )


def _two_columns_on_rank(rank, world_size):
    # 1e-3 of the first column, but less than rounding beside the second.
    reward = SignalAndNoise([[[0.3, 1e6], [0.2 * (1 + 1e-3 * rank), 1e6]]])
    try:
        return updates(reward, 1)
    except UserError as error:
        return str(error)


def test_ranks_are_compared_column_by_column(tmp_path):
    one, other = on_ranks(2, _two_columns_on_rank, tmp_path)
    assert one == other and one.startswith("the reward of dataset.b is 0.2002")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("batch_size", 1.5),
        ("smoothing", 0.0),
        ("smoothing", 1.1),
        ("smoothing", "much"),
        ("specialist", "c"),
    ],
)
def test_bad_options_name_key_and_value(option, value):
    with pytest.raises(UserError, match=f"reward.{option} .*{value}"):
        Scripted([], **{option: value})
