# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The model that scores, whole on every rank."""

from typing import Any

import torch
from omegaconf import DictConfig
from torchtune import training
from torchtune.modules import TransformerDecoder
from torchtune.modules.peft import get_adapter_params

from mos_tune.components import build
from mos_tune.errors import UserError
from mos_tune.training.base_model import check_finite


def load_model(
    section: DictConfig, checkpointer: Any, device: torch.device, dtype: torch.dtype
) -> TransformerDecoder:
    """Load a model to measure with; called on all ranks alike.

    Args:
        section (DictConfig): ``model`` of a training config; adapters stay at their start, where
            they change nothing.
        checkpointer (Any): of the same config.
        device (torch.device): where to.
        dtype (torch.dtype): of the weights.

    Returns:
        TransformerDecoder: the model.

    Raises:
        UserError: if the checkpoint does not fit, or a weight is not finite.
    """
    with training.set_default_dtype(dtype), device:
        model: TransformerDecoder = build("model", section)
    weights = checkpointer.load_checkpoint()[training.MODEL_KEY]
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise UserError(f"checkpointer: the checkpoint does not fit model: {text[:300]}") from error
    wrong = [*(set(missing) - set(get_adapter_params(model))), *unexpected]
    if wrong:
        raise UserError(
            f"checkpointer: the checkpoint does not fit model ({section._component_}): "
            f"{min(wrong)} is in only one of them"
        )
    check_finite(model)
    return model
