# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch

from mos_tune.mixture import renormalized

P = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def test_the_available_ones_are_renormalized():
    given = renormalized(P, torch.tensor([True, False, True]))
    torch.testing.assert_close(given, torch.tensor([2 / 7, 0, 5 / 7], dtype=torch.float64))
    assert given[1] == 0


def test_nothing_changes_when_all_are_available():
    not_quite_1 = P * (1 + 1e-15)
    assert torch.equal(renormalized(not_quite_1, torch.ones(3, dtype=torch.bool)), not_quite_1)


def test_datasets_of_probability_0_are_drawn_when_nothing_else_is_left():
    given = renormalized(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([False, True, True]))
    assert given.tolist() == [0, 0.5, 0.5]


def test_one_dataset_must_be_available():
    with pytest.raises(ValueError, match="no dataset is available"):
        renormalized(P, torch.zeros(3, dtype=torch.bool))
