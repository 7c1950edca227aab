# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""FSDP2's outermost module keeps its parameters gathered after a pass without gradient."""

import pytest
import torch
from helpers.hf_models import tiny_llama
from helpers.probing import torchtune_model
from helpers.ranks import on_ranks
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from mos_tune.rewards import hidden_states, measuring

TOKENS = torch.tensor([[1, 2, 3]])


def _sharded(base, builder, world_size, **options):
    model = torchtune_model(builder, base, "LLAMA3")
    mesh = init_device_mesh("cpu", (world_size,))
    for layer in model.layers:
        fully_shard(layer, mesh=mesh, **options)
    fully_shard(model, mesh=mesh, **options)
    return model


def _after(rank, world_size, base, builder, options):
    model = _sharded(base, builder, world_size, **options)
    parameters = list(model.parameters())
    with torch.no_grad():
        model(TOKENS)
    gathered = any(not isinstance(one, DTensor) for one in model.parameters())
    with measuring(model):
        hidden_states(model, TOKENS)
    after = list(model.parameters())
    return gathered, all(one is other for one, other in zip(after, parameters, strict=True))


@pytest.mark.parametrize("reshard", [True, False])
def test_the_optimizers_parameters_are_back_when_measuring_ends(tmp_path, reshard):
    _, builder = tiny_llama(tmp_path / "base")
    options = {"reshard_after_forward": reshard}
    for gathered, same in on_ranks(2, _after, tmp_path / "r", tmp_path / "base", builder, options):
        assert same and (gathered or reshard)
