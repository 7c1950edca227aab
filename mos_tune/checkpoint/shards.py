# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Loading a step checkpoint into model and optimizer, on any number of ranks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from mos_tune.checkpoint.data_only import DataOnlyPlanner, DataOnlyReader
from mos_tune.errors import UserError

STATE = "state.pt"

# With LoRA the base model stays as it was loaded; only the adapters are saved.
TRAINED = StateDictOptions(ignore_frozen_params=True, strict=False)


@dataclass(frozen=True)
class SavedStep:
    """The small part of a checkpoint, the same for every rank.

    Attributes:
        folder (Path): where the checkpoint is.
        mixture (dict[str, Any]): the mixture's state.
        optimizers (list[dict[str, Any]]): class name and parameter groups of every optimizer.
    """

    folder: Path
    mixture: dict[str, Any]
    optimizers: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "SavedStep":
        """Read it from the checkpoint's folder."""
        return cls(folder, **torch.load(folder / STATE, map_location="cpu", weights_only=True))


def load_shards(
    saved: SavedStep,
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    chosen: Collection[str],
    group: Any,
) -> None:
    """Load model and optimizers in place.

    Args:
        saved (SavedStep): the checkpoint.
        model (nn.Module): the model, of the same architecture as the saved one.
        optimizers (Sequence[Optimizer]): its optimizer, or all of them with ``optimizer_in_bwd``.
        chosen (Collection[str]): options that keep the value they have now, such as ``"lr"``.
        group (Any): the process group of all ranks.

    Raises:
        UserError: if model or optimizers are not those that were saved.
    """
    here = [type(one).__name__ for one in optimizers]
    there = [one["kind"] for one in saved.optimizers]
    if here != there:
        raise UserError(
            f"optimizer is {here[0]} with optimizer_in_bwd {len(here) > 1}, the checkpoint has "
            f"{there[0]} with optimizer_in_bwd {len(there) > 1}"
        )
    optimizer_state: dict[str, Any] = get_optimizer_state_dict(model, optimizers)
    shards: dict[str, Any] = {
        "model": get_model_state_dict(model, options=TRAINED),
        "optimizer": optimizer_state["state"],
    }
    reader = DataOnlyReader(saved.folder)
    saved_names = reader.read_metadata().state_dict_metadata
    trained = [name.removeprefix("model.") for name in saved_names if name.startswith("model.")]
    left_out = [name for name in trained if name not in shards["model"]]
    if left_out:
        raise UserError(
            f"{saved.folder} has {left_out[0]}, which this model has not or does not train"
        )
    try:
        dcp.load(
            shards,
            storage_reader=reader,
            planner=DataOnlyPlanner(),
            process_group=group,
        )
    except dcp.CheckpointException as error:
        raise UserError(
            f"{saved.folder} does not fit this model or optimizer: {reason_of(error)}"
        ) from error
    set_model_state_dict(model, shards["model"], options=TRAINED)
    set_optimizer_state_dict(model, optimizers, optimizer_state)
    for optimizer, one in zip(optimizers, saved.optimizers, strict=True):
        for parameters, old in zip(optimizer.param_groups, one["groups"], strict=True):
            parameters.update({key: old[key] for key in old if key not in chosen})


def reason_of(error: BaseException) -> str:
    """Say what went wrong; torch's own exception is a list of tracebacks by rank."""
    if isinstance(error, dcp.CheckpointException):
        text = "; ".join(sorted({str(reason[0]) for reason in error.failures.values()}))
    else:
        text = f"{type(error).__name__}: {error}"
    # What torch's zip writer says when the system takes no more bytes.
    return f"the disk is full ({text})" if "unexpected pos" in text else text
