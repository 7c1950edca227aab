# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import torch
from helpers.ranks import on_ranks

from mos_tune.training.agreement import check_ranks_agree


def _check(rank, world_size):
    messages = []
    for change in (0.0, 1e-16 * rank):
        values = torch.tensor([1e-3, change], dtype=torch.float64)
        try:
            check_ranks_agree(values, torch.device("cpu"), "rewards")
            messages.append("")
        except RuntimeError as error:
            messages.append(str(error))
    return messages


def test_a_difference_in_the_last_bit_stops_every_rank_with_the_rank_named(tmp_path):
    for same, different in on_ranks(2, _check, tmp_path):
        assert same == ""
        assert different.startswith("rewards differ between rank 0 and rank 1;")


def test_one_process_agrees_with_itself():
    check_ranks_agree(torch.ones(2), torch.device("cpu"), "rewards")
