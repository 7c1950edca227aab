# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

from helpers.ranks import on_ranks

from mos_tune.evaluation.ranks import Ranks


def work(rank, world_size):
    seen = []

    def square(batch, add=0):
        seen.append(batch)
        return [x * x + add for x in batch]

    ranks = Ranks({"square": square})
    if rank > 0:
        ranks.serve()
        return seen
    progress = []
    done = ranks.run("square", [[1, 2], [3], [4, 5], [6], [7]], on_progress=progress.append, add=1)
    again = ranks.run("square", [[8]])
    ranks.release()
    return {"done": done, "again": again, "progress": progress, "seen": seen}


def test_results_are_the_same_on_any_number_of_ranks(tmp_path):
    alone = work(0, 1)
    assert alone["done"] == [[2, 5], [10], [17, 26], [37], [50]]
    together, other = on_ranks(2, work, tmp_path)
    assert together["done"] == alone["done"]
    assert together["again"] == alone["again"] == [[64]]
    assert sum(together["progress"]) == sum(alone["progress"]) == 7
    # Both took their share.
    assert together["seen"] == [[1, 2], [4, 5], [7], [8]]
    assert other == [[3], [6]]
