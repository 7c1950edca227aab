# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The part of a recipe that makes sure the base model is sound before it is trained."""

import textwrap
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.distributed.tensor import DTensor
from torchao.dtypes import NF4Tensor

from mos_tune.distributed import gather
from mos_tune.errors import UserError

# torch names every weight that does not fit.
_LONGEST_REASON = 300


class BaseModelRecipe:
    """Load the base model as the stock recipe does, and check its weights."""

    def _setup_model(self, cfg_model: DictConfig, **options: Any) -> nn.Module:
        """Load the model; arguments as in the stock recipe.

        Raises:
            UserError: on every rank, if the checkpoint does not fit or a weight is not finite.
        """
        try:
            # mypy cannot see the stock recipe, which comes later among the bases.
            model: nn.Module = super()._setup_model(cfg_model, **options)  # type: ignore[misc]
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, KeyError, AttributeError) as error:
            reason = textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" …")
            raise UserError(
                f"the checkpoint of checkpointer does not fit model ({cfg_model._component_}): "
                f"{reason}"
            ) from error
        check_finite(model)
        return model


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
