# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import copy

import torch
from helpers.ranks import on_ranks

from mos_tune.distributed import check_ranks_agree, from_rank_zero
from mos_tune.errors import UserError
from mos_tune.mixture import MixtureSampler
from mos_tune.scorers import MLPScorer


def state_after_an_update():
    sampler = MixtureSampler({"a": 9, "b": 5}, global_batch_size=4, seed=0)
    scorer = MLPScorer(sampler.prior, inner_steps=2)
    sampler.draw_step(1, sampler.prior)
    scorer.learn(torch.tensor([1.0, 2.0]))
    return {"step": 1, "sampler": sampler.state_dict(), "scorer": scorer.state_dict()}


def _moment(state):
    state["scorer"]["_extra_state"]["state"]["state"][0]["exp_avg"].mul_(1 + 2**-52)


def _count(state):
    state["sampler"]["drawn"]["b"] += 1


def _step(state):
    state["step"] = 2


FAULTS = {"scorer": _moment, "sampler": _count, "step": _step}


def _check(rank, world_size):
    messages = {}
    for wrong in (0, 2):
        for part, fault in {"": lambda state: None, **FAULTS}.items():
            state = copy.deepcopy(state_after_an_update())
            if rank == wrong:
                fault(state)
            try:
                check_ranks_agree(state, 7)
            except UserError as error:
                messages[wrong, part] = str(error)
    return messages


def test_any_difference_stops_every_rank_with_rank_and_part_named(tmp_path):
    for messages in on_ranks(3, _check, tmp_path):
        assert len(messages) == 2 * len(FAULTS)  # and none without a fault
        for (wrong, part), message in messages.items():
            # Of several ranks the odd one is named, even if it is rank 0.
            one = 1 if wrong == 0 else 0
            expected = f"after step 7, rank {wrong} has another {part} than rank {one};"
            assert message.startswith(expected)


def test_one_process_agrees_with_itself():
    check_ranks_agree({"rewards": torch.ones(2)}, 0)


def _from_rank_zero(rank, world_size):
    def refuse():
        raise UserError("not these")

    given = from_rank_zero(lambda: {"rank": rank, "value": torch.tensor([1 / 3]).double()})
    try:
        from_rank_zero(refuse)
    except UserError as error:
        return given, str(error)


def test_every_rank_gets_what_rank_0_makes_and_its_error(tmp_path):
    for given, refusal in on_ranks(2, _from_rank_zero, tmp_path):
        assert given == {"rank": 0, "value": torch.tensor([1 / 3]).double()}
        assert refusal == "not these"
    assert from_rank_zero(lambda: 5) == 5
