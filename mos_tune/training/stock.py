# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""torchtune's stock recipe files, loaded from the installed package."""

import gc
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchtune
import torchtune.training
from torch import Tensor
from torchtune.modules.peft import get_merged_lora_ckpt
from tqdm import tqdm

from mos_tune.errors import UserError

TORCHTUNE_VERSION = "0.6.1"

Seam = Mapping[str, Sequence[str]]
"""What a mixin builds on in a stock recipe: the methods and their parameters."""

TRAINING: Seam = {
    "setup": ["self", "cfg"],
    "train": ["self"],
    "cleanup": ["self"],
    "_update_recipe_state": ["self", "ckpt_dict"],
    "_setup_data": [
        "self",
        "cfg_dataset",
        "shuffle",
        "batch_size",
        "collate_fn",
        "dataloader_state_dict",
    ],
    "_setup_lr_scheduler": ["self", "cfg_lr_scheduler", "num_training_steps", "last_epoch"],
}


def load_stock_recipe(file_name: str, class_name: str, seam: Seam = TRAINING) -> ModuleType:
    """Load a private copy of a stock recipe's module, to be subclassed.

    torchtune ships its recipes beside the package and forbids importing them by name, so the file
    is loaded by its path. The copy is ours: names replaced in it change nothing for other users of
    torchtune.

    Args:
        file_name (str): the recipe's file, such as ``"full_finetune_distributed.py"``.
        class_name (str): the recipe class in it.
        seam (Seam): what the recipe must have. Default: what a training recipe must.

    Returns:
        ModuleType: the module, able to run on the CPU too.

    Raises:
        UserError: if the installed torchtune is not the version, or the recipe not of the shape,
            that mos-tune builds on.
    """
    installed = version("torchtune")
    if installed != TORCHTUNE_VERSION:
        raise UserError(
            f"mos-tune builds on torchtune {TORCHTUNE_VERSION}, but {installed} is installed; "
            f"pip install torchtune=={TORCHTUNE_VERSION}"
        )
    path = Path(torchtune.__file__).parent.parent / "recipes" / file_name
    spec = importlib.util.spec_from_file_location(f"torchtune_stock_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"torchtune's recipe {path} is missing; is the installation complete?")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipe = getattr(module, class_name, None)
    for method, expected in seam.items():
        found = list(inspect.signature(getattr(recipe, method, lambda: None)).parameters)
        if found != list(expected):
            raise UserError(
                f"{class_name}.{method} in {path} takes {found}, mos-tune expects {expected}; "
                "has the file been changed?"
            )
    vars(module)["training"] = _TrainingOnAnyDevice()
    if hasattr(module, "get_merged_lora_ckpt"):
        vars(module)["get_merged_lora_ckpt"] = _merged_copy
    return module


def _merged_copy(state_dict: Mapping[str, Tensor], **scaling: float) -> dict[str, Tensor]:
    """Merge adapters into copies of the weights, for the checkpoint.

    torchtune adds them in place. On a GPU the recipe has copied the weights to main memory before;
    on a CPU they are the model's own, which would then have every epoch's adapters twice.
    """
    ends = "lora_a.weight"
    adapted = {name.removesuffix(ends) + "weight" for name in state_dict if name.endswith(ends)}
    copies = {name: w.clone() if name in adapted else w for name, w in state_dict.items()}
    return get_merged_lora_ckpt(copies, **scaling)


class _TrainingOnAnyDevice:
    """``torchtune.training`` for a recipe, with the calls that fail on a CPU bridged."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torchtune.training, name)

    @staticmethod
    def get_memory_stats(device: torch.device, reset_stats: bool = True) -> dict[str, float]:
        if device.type == "cpu":
            return {}
        return torchtune.training.get_memory_stats(device, reset_stats)

    @staticmethod
    def log_memory_stats(stats: dict[str, float]) -> None:
        if stats:
            torchtune.training.log_memory_stats(stats)

    @staticmethod
    def cleanup_before_training() -> None:
        if torch.cuda.is_available():
            torchtune.training.cleanup_before_training()
        else:
            gc.collect()


def show_mixture(
    stock: ModuleType, mixture: Callable[[], str], steps: Callable[[], tuple[int, int]]
) -> None:
    """Make the bar of a stock recipe's module end in ``mixture()`` and go on after a resume.

    The bar is a local variable of the stock loop; the name it is made from is the only handle.

    Args:
        stock (ModuleType): our private copy of the recipe's module.
        mixture (Callable[[], str]): gives a short text.
        steps (Callable[[], tuple[int, int]]): of the epoch whose bar is being made, the steps done
            and all that it has.
    """

    class MixtureBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            initial, total = steps()
            super().__init__(*args, **kwargs | {"initial": initial, "total": total})

        def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
            super().set_description(f"{desc}|{mixture()}", refresh)

    bar: Any = MixtureBar
    vars(stock)["tqdm"] = bar
