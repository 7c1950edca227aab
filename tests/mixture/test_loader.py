# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
from helpers.ranks import on_ranks

from mos_tune.errors import UserError
from mos_tune.mixture import MixtureLoader, MixtureSampler

SIZES = {"a": 11, "b": 5}


class Listener:
    """Moves the probabilities at every step, as a scorer would."""

    def __init__(self):
        self.calls = []

    def probabilities(self):
        share = 0.2 + 0.1 * sum(call == "end" for call, *_ in self.calls)
        return torch.tensor([share, 1 - share], dtype=torch.float64)

    def on_step_start(self, step):
        self.calls.append(("start", step))

    def on_draw(self, step, examples):
        self.calls.append(("draw", step, examples))

    def on_batch(self, datasets, batch):
        self.calls.append(("batch", datasets, batch))

    def on_step_end(self, step):
        self.calls.append(("end", step))

    def state_dict(self):
        return {"calls": len(self.calls)}


def loader(
    rank=0,
    world_size=1,
    batch_size=2,
    accumulation_steps=2,
    step=0,
    epoch=0,
    total_steps=100,
    **options,
):
    global_batch_size = world_size * batch_size * accumulation_steps
    sampler = MixtureSampler(SIZES, global_batch_size=global_batch_size, seed=0, **options)
    datasets = [[("a", i) for i in range(11)], [("b", i) for i in range(5)]]
    return MixtureLoader(
        datasets,
        sampler,
        Listener(),
        collate=lambda rows: {"rows": rows},
        batch_size=batch_size,
        accumulation_steps=accumulation_steps,
        steps_per_epoch=3,
        total_steps=total_steps,
        step=step,
        epoch=epoch,
        rank=rank,
        world_size=world_size,
    )


def steps_drawn(one):
    return [
        examples for call, _, *rest in one._listener.calls if call == "draw" for examples in rest
    ]


@pytest.mark.parametrize(
    "options",
    [{"draw": "example"}, {"draw": "batch"}, {"max_epochs": {"a": 1, "b": 3}}],
    ids=["example", "batch", "limited"],
)
def test_the_global_order_is_the_same_on_1_2_and_4_ranks(options):
    seen = []
    for world_size, batch_size in ((1, 4), (2, 2), (4, 1)):
        ranks = [loader(r, world_size, batch_size, **options) for r in range(world_size)]
        batches = [[batch["rows"] for batch in one] for one in ranks]
        assert all(steps_drawn(one) == steps_drawn(ranks[0]) for one in ranks)
        seen.append(steps_drawn(ranks[0]))
        names = list(SIZES)
        for step, examples in enumerate(steps_drawn(ranks[0])):
            mine = [batches[r][2 * step + k] for k in (0, 1) for r in range(world_size)]
            everyone = sorted(row for rows in mine for row in rows)
            assert everyone == sorted((names[dataset], index) for dataset, index in examples)
    assert seen[0] == seen[1] == seen[2]


def test_a_step_ends_before_the_next_is_drawn():
    one = loader()
    for _ in one:
        pass
    calls = [call for call, *_ in one._listener.calls]
    assert calls == ["start", "draw", "batch", "batch", "end"] * 3
    assert [step for call, step, *_ in one._listener.calls if call == "end"] == [1, 2, 3]


def test_steps_count_on_over_epochs():
    one = loader()
    for _ in range(2):
        for _ in one:
            pass
    assert [step for call, step, *_ in one._listener.calls if call == "end"] == [1, 2, 3, 4, 5, 6]
    assert len(one) == 6


def test_the_last_epoch_may_be_shorter():
    one = loader(total_steps=5)
    assert [sum(1 for _ in one) for _ in range(3)] == [6, 4, 0]
    assert [step for call, step, *_ in one._listener.calls if call == "end"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("step", "epoch", "rest"), [(1, 0, [2, 3]), (3, 0, []), (3, 1, [4, 5, 6])])
def test_a_resumed_loader_yields_what_is_left_of_the_epoch(step, epoch, rest):
    one = loader(step=step, epoch=epoch)
    assert len(list(one)) == 2 * len(rest)
    assert [step for call, step, *_ in one._listener.calls if call == "end"] == rest
    assert len(list(one)) == 6


def test_the_listener_knows_each_rows_dataset():
    one = loader()
    for batch in one:
        _, datasets, told = one._listener.calls[-1]
        assert told is batch
        assert [list(SIZES)[d] for d in datasets] == [name for name, _ in batch["rows"]]


def test_state_is_the_listeners():
    assert loader().state_dict() == {"calls": 0}


def test_a_loop_that_breaks_off_ends_its_last_step_with_finish():
    one = loader()
    batches = iter(one)
    next(batches)
    one.finish()  # half of the step's micro-batches are still to come
    assert one.step == 0
    next(batches)
    one.finish()
    one.finish()
    assert one.step == 1 and [call for call, *_ in one._listener.calls][-1] == "end"
    next(batches)
    ends = [step for call, step, *_ in one._listener.calls if call == "end"]
    assert ends == [1]
    whole = loader()
    assert sum(1 for _ in whole) == len(list(batches)) + 3
    assert steps_drawn(one) == steps_drawn(whole)


def plain_loader(batch_size):
    """One with nothing said that has a default, of a sampler that draws 4 sequences a step."""
    sampler = MixtureSampler(SIZES, global_batch_size=4, seed=0)
    datasets = [[("a", i) for i in range(11)], [("b", i) for i in range(5)]]
    return MixtureLoader(
        datasets, sampler, Listener(), collate=list, batch_size=batch_size, total_steps=3
    )


def _rows_of_a_rank(rank, world_size):
    return [row for batch in plain_loader(4 // world_size) for row in batch]


def test_it_knows_its_rank_and_takes_all_steps_for_one_epoch(tmp_path):
    alone = _rows_of_a_rank(0, 1)
    assert len(alone) == 12
    ranks = on_ranks(2, _rows_of_a_rank, tmp_path)
    assert ranks == [alone[0::2], alone[1::2]]


def test_a_global_batch_that_is_not_a_steps_is_refused():
    with pytest.raises(UserError, match=r"global batch is 4, but a step takes 3: batch_size 3 \* "):
        plain_loader(3)
