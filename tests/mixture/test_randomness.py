# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from mos_tune.mixture import counter_based_rng, derived_seed


def test_a_stream_depends_on_its_purpose_alone():
    first = counter_based_rng(1, "draw", 10**6).random(3)
    counter_based_rng(1, "draw", 5).random(100)
    assert (counter_based_rng(1, "draw", 10**6).random(3) == first).all()


def test_streams_of_different_purposes_differ():
    arguments = [(1, "draw", 1), (2, "draw", 1), (1, "order", 1), (1, "draw", 2), (1, "draw", "1")]
    assert len({counter_based_rng(*a).random() for a in arguments}) == len(arguments)


def test_a_derived_seed_fits_torch_and_depends_on_its_purpose():
    seeds = {derived_seed(1, "model", step, rank) for step in range(50) for rank in range(4)}
    assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(1, "model", 3, 0) == derived_seed(1, "model", 3, 0)
