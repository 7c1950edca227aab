# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from collections import Counter

import pytest
import torch

from mos_tune.errors import UserError
from mos_tune.mixture import MixtureSampler

SIZES = {"a": 40, "b": 7, "c": 300}
P = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def sampler(**options):
    return MixtureSampler(SIZES, **{"global_batch_size": 16, "seed": 3} | options)


def chi_square(observed, expected):
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


def test_frequencies_follow_the_probabilities_per_example():
    drawn = sampler(global_batch_size=20_000).draw_step(1, P)
    observed = [Counter(dataset for dataset, _ in drawn)[i] for i in range(3)]
    # 13.8 is the 0.999 quantile of chi-square with 2 degrees of freedom; the draws are seeded.
    assert chi_square(observed, (P * 20_000).tolist()) < 13.8


def test_frequencies_follow_the_probabilities_per_batch():
    chosen = Counter()
    mine = sampler(draw="batch")
    for step in range(1, 5001):
        datasets = {dataset for dataset, _ in mine.draw_step(step, P)}
        assert len(datasets) == 1
        chosen.update(datasets)
    assert chi_square([chosen[i] for i in range(3)], (P * 5000).tolist()) < 13.8


def test_a_wrong_distribution_would_be_seen():
    drawn = sampler(global_batch_size=20_000).draw_step(1, torch.ones(3) / 3)
    observed = [Counter(dataset for dataset, _ in drawn)[i] for i in range(3)]
    assert chi_square(observed, (P * 20_000).tolist()) > 13.8


@pytest.mark.parametrize("draw", ["example", "batch"])
def test_every_pass_takes_every_example_once(draw):
    mine = sampler(draw=draw)
    taken = {0: [], 1: [], 2: []}
    for step in range(1, 201):
        for dataset, index in mine.draw_step(step, P):
            taken[dataset].append(index)
    for dataset, size in enumerate(SIZES.values()):
        passes = [taken[dataset][k : k + size] for k in range(0, len(taken[dataset]), size)]
        assert len(passes) > 2
        assert all(sorted(one) == list(range(size)) for one in passes[:-1])
        assert len(set(passes[-1])) == len(passes[-1])
        assert passes[0] != passes[1]


def test_unshuffled_keeps_the_datasets_order():
    mine = sampler(shuffle=False)
    taken = [
        index for step in range(1, 9) for dataset, index in mine.draw_step(step, P) if dataset == 1
    ]
    assert taken == [k % 7 for k in range(len(taken))] and len(taken) > 7


def test_order_within_a_dataset_does_not_depend_on_the_others():
    alone = MixtureSampler({"b": 7}, global_batch_size=7, seed=3)
    order = [index for _, index in alone.draw_step(1, torch.ones(1))]
    mixed = sampler(global_batch_size=100).draw_step(1, P)
    assert [index for dataset, index in mixed if dataset == 1][:7] == order


def test_probability_zero_is_never_drawn():
    for probabilities in ([0.0, 0.5, 0.5], [0.5, 0.5, 0.0]):
        drawn = sampler(global_batch_size=5000).draw_step(1, torch.tensor(probabilities))
        assert probabilities.index(0.0) not in {dataset for dataset, _ in drawn}


def test_a_restored_sampler_resumes_in_any_pass():
    mine = sampler()
    for step in range(1, 31):
        mine.draw_step(step, P)
    other = sampler()
    other.load_state_dict(mine.state_dict())
    assert [mine.draw_step(s, P) for s in range(31, 61)] == [
        other.draw_step(s, P) for s in range(31, 61)
    ]


def test_a_step_is_a_function_of_the_state_not_of_calls():
    mine = sampler()
    state = mine.state_dict()
    first = mine.draw_step(9, P)
    mine.load_state_dict(state)
    assert mine.draw_step(9, P) == first


def test_counts_examples_and_passes():
    mine = sampler(global_batch_size=35)
    mine.draw_step(1, torch.tensor([0.0, 1.0, 0.0]))
    assert mine.draws == {"a": 0, "b": 35, "c": 0}
    assert mine.epochs == {"a": 0.0, "b": 5.0, "c": 0.0}


def test_bad_options_name_their_key():
    with pytest.raises(UserError, match="sampler.draw must be .* got 'token'"):
        sampler(draw="token")
    with pytest.raises(UserError, match="dataset.b is empty"):
        MixtureSampler({"a": 1, "b": 0}, global_batch_size=1, seed=0)
    with pytest.raises(UserError, match="no dataset"):
        MixtureSampler({}, global_batch_size=1, seed=0)
