# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import numpy as np
import pytest

from mos_tune.data.examples import Examples, MixtureData
from mos_tune.data.packing import mean_lengths, pack_sizes, plan_packs, training_sequences
from mos_tune.errors import UserError


def data(lengths, fingerprint="f"):
    rows = [{"tokens": [7] * length, "labels": [7] * length} for length in lengths]
    train = {
        name: Examples(
            f"dataset.{name}",
            rows,
            list(range(len(rows))),
            list(lengths),
            [length - 1 for length in lengths],
        )
        for name in ("a", "b")
    }
    return MixtureData(train, {}, dict.fromkeys(("dataset.a", "dataset.b"), fingerprint), {}, ["b"])


@pytest.mark.parametrize("seed", range(5))
def test_every_example_is_in_one_pack_and_every_pack_is_nearly_full(seed):
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(5, 0.8, 3000), 4, 1024).astype(int).tolist()
    packs = plan_packs(lengths, 1024)
    assert sorted(position for pack in packs for position in pack) == list(range(3000))
    assert max(sum(lengths[position] for position in pack) for pack in packs) <= 1024
    assert sum(lengths) / (1024 * len(packs)) > 0.98
    assert plan_packs(lengths, 1024) == packs


@pytest.mark.parametrize(
    ("lengths", "size", "packs"),
    [
        ([5, 5, 5], 5, [[0], [1], [2]]),
        # Into the pack with least room: 4 beside 6, not beside 5.
        ([5, 6, 4], 10, [[1, 2], [0]]),
        ([1, 9, 1, 8], 10, [[1, 0], [3, 2]]),
        ([3], 10, [[0]]),
    ],
)
def test_small_plans(lengths, size, packs):
    assert plan_packs(lengths, size) == packs


def test_mean_lengths_are_of_what_a_draw_takes():
    whole = data([3, 4, 5])
    lengths = mean_lengths(whole, training_sequences(whole, 8))
    assert lengths == {"tokens": {"a": 4, "b": 6}, "response_tokens": {"a": 3, "b": 4.5}}


def test_only_what_the_config_names_is_packed():
    sequences = training_sequences(data([3, 4, 5]), 8)
    assert pack_sizes(sequences) == {"a": None, "b": 8}
    assert [len(sequences[name]) for name in "ab"] == [3, 2]
    assert sequences["a"].contents(1) == ([1], 4)
    assert [sequences["b"].contents(one) for one in (0, 1)] == [([2, 0], 8), ([1], 4)]
    # The loss predicts each label from the token before it: none at the start of an example.
    assert sequences["b"][0] == {
        "tokens": [7] * 8,
        "labels": [-100, 7, 7, 7, 7, -100, 7, 7],
        "seq_lens": [5, 3],
    }


@pytest.mark.parametrize(
    ("lengths", "fingerprint", "size", "message"),
    [
        ([3], "f", None, "dataset.b.packed is True, but tokenizer.max_seq_len, its size, is null"),
        ([3], None, 8, "dataset.b.packed is True, but it gives another example each time"),
        ([3, 9], "f", 8, "dataset.b.packed is True, but its example 1 has 9 tokens, .* 8, the"),
    ],
)
def test_what_cannot_be_packed_is_refused(lengths, fingerprint, size, message):
    with pytest.raises(UserError, match=message):
        training_sequences(data(lengths, fingerprint), size)
