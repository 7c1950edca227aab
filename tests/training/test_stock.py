# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import pytest
import torch
import torchtune.training

from mos_tune.errors import UserError
from mos_tune.training import load_stock_recipe, stock

FILE, CLASS = "full_finetune_distributed.py", "FullFinetuneRecipeDistributed"


def test_every_loaded_copy_is_private():
    first, second = load_stock_recipe(FILE, CLASS), load_stock_recipe(FILE, CLASS)
    first.tqdm = None
    assert second.tqdm is not None
    assert getattr(first, CLASS) is not getattr(second, CLASS)


def test_torchtune_itself_is_left_alone():
    module = load_stock_recipe(FILE, CLASS)
    with pytest.raises(ValueError, match="not supported on CPU"):
        torchtune.training.get_memory_stats(torch.device("cpu"))
    assert module.training.get_memory_stats(device=torch.device("cpu")) == {}
    module.training.log_memory_stats({})
    module.training.cleanup_before_training()
    assert module.training.MODEL_KEY == torchtune.training.MODEL_KEY


def test_another_torchtune_is_refused(monkeypatch):
    monkeypatch.setattr(stock, "version", lambda name: "0.7.0")
    with pytest.raises(UserError, match="builds on torchtune 0.6.1, but 0.7.0 is installed"):
        load_stock_recipe(FILE, CLASS)


def test_a_recipe_of_another_shape_is_refused(monkeypatch):
    with pytest.raises(UserError, match=rf"{CLASS}.setup in .*full_dpo.* takes \[\]"):
        load_stock_recipe("full_dpo_distributed.py", CLASS)


def test_a_missing_recipe_is_named():
    with pytest.raises(UserError, match="recipe .*no_such_recipe.py is missing"):
        load_stock_recipe("no_such_recipe.py", CLASS)
