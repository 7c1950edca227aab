# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from mos_tune.errors import UserError
from mos_tune.training import MixtureRecipe
from mos_tune.training.base_model import check_finite


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_not_finite_is_named(value):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    check_finite(model)
    with torch.no_grad():
        model[1].weight[0, 1] = value
    with pytest.raises(UserError, match="weight 1.weight holds nan or inf$"):
        check_finite(model)
    with torch.no_grad():
        model[0].bias[0] = value
    with pytest.raises(UserError, match="weight 0.bias holds nan or inf, and so do 1 more$"):
        check_finite(model)


class Stock:
    def _setup_model(self, cfg_model, *, weights):
        model = nn.Linear(3, 2)
        model.load_state_dict(weights)
        return model


class Recipe(MixtureRecipe, Stock):
    def __init__(self):
        pass


def test_a_checkpoint_of_another_size_is_a_user_s_error():
    cfg = OmegaConf.create({"_component_": "my.model"})
    good = nn.Linear(3, 2).state_dict()
    assert Recipe()._setup_model(cfg_model=cfg, weights=good).weight.equal(good["weight"])
    with pytest.raises(UserError, match=r"does not fit model \(my.model\)(.|\n)*size mismatch"):
        Recipe()._setup_model(cfg_model=cfg, weights=nn.Linear(4, 2).state_dict())
