# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest

from mos_tune.errors import UserError
from mos_tune.selection.choose import choose_any, choose_hardest

SCORES = {2: 0.5, 3: 1.0, 5: 1.01, 7: 0.9, 8: 0.9, 9: 3.0, 11: 0.1, 12: 0.2}
INDICES = sorted(SCORES)


@pytest.mark.parametrize(
    ("fraction", "chosen"),
    [
        (0.5, [3, 7, 8, 2]),
        # A share of all of them, of which two are above 1.
        (1, [3, 7, 8, 2, 12, 11]),
        (0.01, [3]),
    ],
)
def test_the_highest_scores_up_to_one_are_chosen(fraction, chosen):
    assert choose_hardest("dataset.a", INDICES, SCORES, fraction) == chosen


def test_a_dataset_that_no_instruction_helps_is_refused():
    with pytest.raises(UserError, match="^dataset.a: none of its 2 examples has an IFD of at most"):
        choose_hardest("dataset.a", [5, 9], SCORES, 0.5)


def test_a_random_choice_is_a_function_of_its_arguments():
    indices = list(range(0, 400, 2))
    chosen = choose_any("a", indices, 0.1, 0)
    assert len(chosen) == 20 and chosen == sorted(set(chosen)) and set(chosen) <= set(indices)
    assert chosen == choose_any("a", indices, 0.1, 0)
    assert chosen != choose_any("a", indices, 0.1, 1)
    assert chosen != choose_any("b", indices, 0.1, 0)
