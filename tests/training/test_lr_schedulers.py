# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
from torchtune import config

from mos_tune.errors import UserError
from mos_tune.training.lr_schedulers import get_linear_schedule_with_warmup


def optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def learning_rates(opt: torch.optim.Optimizer, scheduler, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        scheduler.step()
    return rates


def test_schedule_of_ten_steps():
    opt = optimizer(lr=8.0)
    scheduler = get_linear_schedule_with_warmup(opt, num_training_steps=10, warmup_fraction=0.2)
    assert learning_rates(opt, scheduler, 11) == [0, 4, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_default_warms_up_for_a_tenth_of_the_steps():
    opt = optimizer()
    scheduler = get_linear_schedule_with_warmup(opt, num_training_steps=4850)
    rates = learning_rates(opt, scheduler, 4850)
    assert rates.index(max(rates)) == 485
    assert max(rates) == 1.0
    assert rates[97] == pytest.approx(0.2)
    assert rates[-1] == pytest.approx(1 / 4365)


def test_warmup_of_a_part_of_a_step_is_one_step():
    opt = optimizer()
    scheduler = get_linear_schedule_with_warmup(opt, num_training_steps=3)
    assert learning_rates(opt, scheduler, 3) == [0, 1, 0.5]


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.0, [1.0, 0.75, 0.5, 0.25, 0.0]), (1.0, [0.0, 0.25, 0.5, 0.75, 0.0])],
)
def test_no_warmup_and_nothing_but_warmup(fraction, expected):
    opt = optimizer()
    scheduler = get_linear_schedule_with_warmup(opt, num_training_steps=4, warmup_fraction=fraction)
    assert learning_rates(opt, scheduler, 5) == expected


def test_the_rate_stays_at_zero_past_the_end():
    opt = optimizer()
    scheduler = get_linear_schedule_with_warmup(opt, num_training_steps=2, warmup_fraction=0.5)
    assert learning_rates(opt, scheduler, 5) == [0, 1, 0, 0, 0]


def test_agrees_with_transformers():
    from transformers import get_linear_schedule_with_warmup as reference

    ours, theirs = optimizer(1e-5), optimizer(1e-5)
    ours_scheduler = get_linear_schedule_with_warmup(ours, num_training_steps=57)
    # 0.1 * 57, rounded up, as transformers' trainer does for a warm-up ratio.
    theirs_scheduler = reference(theirs, num_warmup_steps=6, num_training_steps=57)
    assert learning_rates(ours, ours_scheduler, 58) == pytest.approx(
        learning_rates(theirs, theirs_scheduler, 58), rel=1e-12
    )


def test_resumes_where_it_stopped():
    opt = optimizer()
    whole = learning_rates(opt, get_linear_schedule_with_warmup(opt, num_training_steps=20), 20)

    opt = optimizer()
    learning_rates(opt, get_linear_schedule_with_warmup(opt, num_training_steps=20), 7)
    resumed = get_linear_schedule_with_warmup(opt, num_training_steps=20, last_epoch=6)
    assert learning_rates(opt, resumed, 13) == whole[7:]


def test_can_be_built_from_a_config_as_the_recipe_does():
    from omegaconf import OmegaConf

    cfg = OmegaConf.create(
        {
            "_component_": "mos_tune.training.get_linear_schedule_with_warmup",
            "warmup_fraction": 0.5,
        }
    )
    opt = optimizer()
    scheduler = config.instantiate(cfg, opt, num_training_steps=4, last_epoch=-1)
    assert learning_rates(opt, scheduler, 4) == [0, 0.5, 1, 0.5]


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction):
    with pytest.raises(UserError, match=f"lr_scheduler.warmup_fraction.*{fraction}"):
        get_linear_schedule_with_warmup(
            optimizer(), num_training_steps=10, warmup_fraction=fraction
        )
