# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A dataset gives ``max_epochs * size`` examples and no more."""

from collections import Counter

import numpy as np
import pytest
import torch

from mos_tune.errors import UserError
from mos_tune.mixture import MixtureSampler

SIZES = {"a": 40, "b": 7, "c": 300}
P = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)


def sampler(max_epochs, sizes=SIZES, **options):
    options = {"global_batch_size": 8, "seed": 3} | options
    return MixtureSampler(sizes, max_epochs=max_epochs, **options)


def random_case(case, draw):
    """Sizes, limits, batch size, and probabilities that change at every step."""
    rng = np.random.default_rng(case)
    batch = int(rng.integers(1, 9))
    sizes = {f"d{i}": int(rng.integers(batch, 40)) for i in range(rng.integers(1, 6))}
    limits = {name: int(rng.integers(1, 4)) for name in sizes}
    sharpness = rng.choice([0.01, 0.3, 3])
    mine = sampler(limits, sizes, global_batch_size=batch, draw=draw, seed=case)

    def probabilities(step):
        rng = np.random.default_rng([case, step])
        return torch.from_numpy(rng.dirichlet(np.full(len(sizes), sharpness)))

    return mine, sizes, limits, batch, probabilities


@pytest.mark.parametrize("draw", ["example", "batch"])
@pytest.mark.parametrize("case", range(40))
def test_whatever_the_probabilities_all_is_drawn_that_may_be(case, draw):
    mine, sizes, limits, batch, probabilities = random_case(case, draw)
    at_once = batch if draw == "batch" else 1
    taken = Counter()
    for step in range(1, mine.max_steps + 1):
        before = mine.available
        examples = mine.draw_step(step, probabilities(step))
        assert len(examples) == batch
        assert all(before[dataset] for dataset, _ in examples)
        taken.update(examples)
        counts = [mine.draws[name] for name in sizes]
        most = [limits[name] * size for name, size in sizes.items()]
        left = [limit - count for limit, count in zip(most, counts, strict=True)]
        assert min(left) >= 0
        assert mine.available.tolist() == [rest >= at_once for rest in left]
    # Less than a step is left: of all together, or, if one dataset fills a step, of each.
    assert max(left) < batch if draw == "batch" else sum(left) < batch
    for dataset, (name, size) in enumerate(sizes.items()):
        times = [taken[dataset, index] for index in range(size)]
        assert max(times) <= limits[name]
        # Whole passes but for what is left.
        assert sum(limits[name] - count for count in times) == left[dataset]


def test_all_used_up_to_the_last_example():
    mine = sampler({"a": 2, "b": 8, "c": 1}, global_batch_size=4)
    taken = Counter()
    for step in range(1, mine.max_steps + 1):
        taken.update(mine.draw_step(step, P))
    assert mine.max_steps == (80 + 56 + 300) / 4 and not mine.available.any()
    expected = {(0, i): 2 for i in range(40)} | {(1, i): 8 for i in range(7)}
    assert taken == expected | {(2, i): 1 for i in range(300)}
    with pytest.raises(ValueError, match="no dataset is available"):
        mine.draw_step(mine.max_steps + 1, P)


@pytest.mark.parametrize("draw", ["example", "batch"])
def test_until_one_is_used_up_the_draws_are_those_without_limits(draw):
    free, limited = sampler({}, draw=draw), sampler({"b": 5}, draw=draw)
    step = 0
    while True:
        step += 1
        expected, found = free.draw_step(step, P), limited.draw_step(step, P)
        if not limited.available.all():
            break
        assert found == expected
    assert step > 5
    assert free.max_steps is limited.max_steps is None


def test_the_rest_of_a_step_is_drawn_from_the_rest_of_the_datasets():
    mine = sampler({"b": 1}, global_batch_size=20_000)
    counts = Counter(dataset for dataset, _ in mine.draw_step(1, P))
    assert counts[1] == 7
    # Renormalised 0.5 : 0.3; 10.8 is the 0.999 quantile of chi-square with 1 degree of freedom.
    expected = {0: 0.625 * 19_993, 2: 0.375 * 19_993}
    assert sum((counts[i] - e) ** 2 / e for i, e in expected.items()) < 10.8


@pytest.mark.parametrize("draw", ["example", "batch"])
def test_a_restored_sampler_resumes_from_any_step(draw):
    limits = {"a": 1, "b": 3, "c": 1}
    whole = sampler(limits, draw=draw)
    states, steps = [], []
    for step in range(1, whole.max_steps + 1):
        states.append(whole.state_dict())
        steps.append(whole.draw_step(step, P))
    for start, state in enumerate(states):
        mine = sampler(limits, draw=draw)
        mine.load_state_dict(state)
        for step in range(start, min(start + 3, len(steps))):
            assert mine.draw_step(step + 1, P) == steps[step]


def test_the_limit_may_change_on_resume_but_not_below_what_is_drawn():
    mine = sampler({"b": 3})
    mine.draw_step(1, torch.tensor([0.0, 1.0, 0.0]))
    state = mine.state_dict()
    for limits in ({}, {"b": 2}, {"a": 1, "b": 9}):
        sampler(limits).load_state_dict(state)
    with pytest.raises(UserError, match="dataset.b.max_epochs allows 7 sequences, .* after 8"):
        sampler({"b": 1}).load_state_dict(state)


def test_a_dataset_that_could_never_be_drawn_is_refused():
    sampler({"b": 1}, draw="example")
    with pytest.raises(UserError, match="b.max_epochs 1 allows 7 sequences, .* batch of 8"):
        sampler({"b": 1}, draw="batch")
