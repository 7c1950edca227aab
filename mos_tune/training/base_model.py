# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Whether the base model is sound, before it is trained."""

import textwrap

import torch
from omegaconf import DictConfig
from torch import nn
from torch.distributed.tensor import DTensor
from torchao.dtypes import NF4Tensor

from mos_tune.distributed import gather
from mos_tune.errors import UserError

# torch names every weight that does not fit.
_LONGEST_REASON = 300


def reason_of_misfit(model: DictConfig, error: Exception) -> str:
    """Say in one sentence that the checkpoint does not fit the config's ``model``, and why."""
    reason = textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" …")
    return f"the checkpoint of checkpointer does not fit model ({model._component_}): {reason}"


def check_finite(model: nn.Module) -> None:
    """Check that every weight is finite; each rank looks at its shard.

    Raises:
        UserError: on every rank, naming the first weight that is not.
    """
    bad = []
    for name, weight in model.named_parameters():
        local = weight.to_local() if isinstance(weight, DTensor) else weight
        if isinstance(local, NF4Tensor):  # QLoRA's base weights, 4 bits each
            local = local.get_original_weight()
        if not torch.isfinite(local).all():
            bad.append(name)
    everyone = gather(bad)
    for name, _ in model.named_parameters():
        if any(name in names for names in everyone):
            count = len({name for names in everyone for name in names})
            raise UserError(
                f"checkpointer: the base model's weight {name} holds nan or inf"
                + (f", and so do {count - 1} more" if count > 1 else "")
            )
