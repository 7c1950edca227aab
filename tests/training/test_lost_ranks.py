# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
from datetime import timedelta

import torch
import torch.distributed as dist
from helpers.ranks import on_ranks
from torch.distributed.distributed_c10d import _set_pg_timeout

from mos_tune.training.lost_ranks import answer, is_lost_contact, what_happened


def _miss(rank, world_size):
    """Rank 2 misses a collective of a group with a short timeout, and later fails itself."""
    group, others = dist.new_group(backend="gloo"), dist.new_group([0, 1], backend="gloo")
    _set_pg_timeout(timedelta(seconds=1), group)  # not before all ranks have made it
    if rank == 2:
        dist.barrier()
        answer(rank, lost_contact=False)
        dist.barrier()
        return None
    try:
        dist.all_reduce(torch.ones(1), group=group)
    except RuntimeError as caught:
        error = caught
    lost_contact = is_lost_contact(error)
    answer(rank, lost_contact)
    dist.barrier(others)  # both have answered
    silent = what_happened(error, seconds=0.5)
    dist.barrier()
    dist.barrier()
    return lost_contact, silent, what_happened(error, seconds=300)


def test_the_rank_that_is_gone_or_failed_is_named(tmp_path):
    first, second, _ = on_ranks(3, _miss, tmp_path)
    for lost_contact, silent, failed in (first, second):
        assert lost_contact
        assert silent.startswith("rank 2 no longer answers (") and silent.endswith(")")
        assert "gloo/transport" not in silent
        assert failed == "rank 2 stopped with an error"


def test_an_error_of_ones_own_is_not_lost_contact():
    for error in (
        ValueError("timed out"),
        RuntimeError("size 3 is not 4"),
        RuntimeError("reading the file timed out"),
        RuntimeError("[my/gloo.py:3] connection closed"),
    ):
        assert not is_lost_contact(error)
    assert is_lost_contact(dist.DistBackendError("whatever"))
