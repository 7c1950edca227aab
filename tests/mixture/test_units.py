# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Probabilities that are shares of tokens or response tokens."""

from collections import Counter

import numpy as np
import pytest
import torch

from mos_tune.errors import UserError
from mos_tune.mixture import MixtureSampler, unimax

SIZES = {"short": 400, "long": 100, "middle": 200}
LENGTHS = {
    "tokens": {"short": 10.0, "long": 200.0, "middle": 50.0},
    "response_tokens": {"short": 2.0, "long": 100.0, "middle": 40.0},
}
EVEN = torch.ones(3, dtype=torch.float64) / 3


def sampler(unit, **options):
    options = {"global_batch_size": 30_000, "seed": 3, "lengths": LENGTHS} | options
    return MixtureSampler(SIZES, unit=unit, **options)


@pytest.mark.parametrize("unit", ["sequences", "tokens", "response_tokens"])
def test_what_is_drawn_has_these_shares_of_the_unit(unit):
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    drawn = Counter(dataset for dataset, _ in sampler(unit).draw_step(1, p))
    lengths = LENGTHS.get(unit, dict.fromkeys(SIZES, 1.0)).values()
    amounts = np.array([drawn[i] * length for i, length in enumerate(lengths)])
    np.testing.assert_allclose(amounts / amounts.sum(), p, atol=0.03)


def test_shares_of_one_unit_in_another():
    mine = sampler("tokens")
    np.testing.assert_allclose(mine.shares(EVEN, "sequences"), np.array([20, 1, 4]) / 25)
    np.testing.assert_allclose(
        mine.shares(EVEN, "response_tokens"), np.array([0.2, 0.5, 0.8]) / 1.5
    )
    assert mine.shares(EVEN, "tokens") is EVEN
    assert not mine.shares(torch.zeros(3), "sequences").any()


def test_the_prior_tempers_sizes_in_the_unit():
    assert sampler("tokens").prior.tolist() == pytest.approx([1 / 3] * 3)
    tokens = np.array([4000, 20_000, 10_000])
    np.testing.assert_allclose(sampler("tokens", temperature=1).prior, tokens / tokens.sum())
    draws = sampler("tokens", temperature=1)
    by_size = draws.shares(draws.prior, "sequences")
    np.testing.assert_allclose(by_size, np.array(list(SIZES.values())) / 700)


def test_without_one_that_is_exhausted_the_others_keep_their_ratio_in_the_unit():
    mine = sampler("tokens", max_epochs={"middle": 1})
    for step in range(1, 3):
        drawn = Counter(dataset for dataset, _ in mine.draw_step(step, EVEN))
    assert drawn[2] == 0
    assert drawn[0] * 10 == pytest.approx(drawn[1] * 200, rel=0.06)


@pytest.mark.parametrize("budget", [40, 400, 2000])
def test_unimax_in_tokens_is_uniform_among_those_below_the_limit(budget):
    lengths = LENGTHS["tokens"]
    tokens = unimax(SIZES, budget=budget, epochs=4, lengths=lengths)
    assert sum(tokens[name] / lengths[name] for name in SIZES) == pytest.approx(budget)
    limits = {name: 4 * size * lengths[name] for name, size in SIZES.items()}
    level = max(tokens.values())
    for name in SIZES:
        assert tokens[name] == pytest.approx(min(level, limits[name]))


def test_a_resumed_run_has_the_same_unit():
    assert sampler("tokens").state_dict()["options"]["sampler.unit"] == "tokens"
    assert "sampler.unit" not in sampler("sequences").state_dict()["options"]


def test_bad_units_name_their_key():
    with pytest.raises(UserError, match="sampler.unit must be one of sequences, .* got 'words'"):
        sampler("words")
    with pytest.raises(UserError, match="sampler.unit is tokens, but the mean lengths in tokens"):
        sampler("tokens", lengths=None)
