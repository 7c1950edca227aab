# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""torchtune's epoch-end export: its index made true, and an error that names what failed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from mos_tune.checkpoint.shards import reason_of
from mos_tune.distributed import get_world_size_and_rank
from mos_tune.errors import UserError
from mos_tune.files import let_others_read, write_whole

INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"


def finish_exports(client: Any, checkpointer: Mapping[str, Any]) -> None:
    """Make ``client.save_checkpoint`` tidy the folder, and raise a UserError if it cannot write.

    It is rank 0 that says it, which alone writes.

    Args:
        client (Any): the recipe's ``CheckpointClient``, or a recipe that has none.
        checkpointer (Mapping[str, Any]): the config's section: where it exports to, and where the
            base model is.
    """
    output_dir = checkpointer["output_dir"]
    stock = client.save_checkpoint

    def save_checkpoint(*, epoch: int, **state: Any) -> None:
        try:
            stock(epoch=epoch, **state)
            if get_world_size_and_rank()[1] == 0:
                folder = Path(output_dir) / f"epoch_{epoch}"
                tidy_index(folder)
                name_base_model(folder, Path(checkpointer["checkpoint_dir"]))
                separate_adapter(folder)
                for path in folder.rglob("*"):
                    if path.is_file():
                        let_others_read(path)
        except (torch.distributed.DistError, torch.OutOfMemoryError):
            raise
        except (OSError, RuntimeError, SafetensorError) as error:
            raise UserError(
                f"epoch_{epoch} could not be exported to {output_dir}: {reason_of(error)}; the "
                "checkpoints before it stay"
            ) from error

    client.save_checkpoint = save_checkpoint


def tidy_index(folder: Path) -> None:
    """Take tensors out of an export's index that none of its files has.

    torchtune writes the index from the checkpoint that training began with. Where that holds a tied
    output layer twice, as Qwen1.5's does, the index would name a tensor that is not exported, and
    converters that check for all of them would stop.

    Args:
        folder (Path): an ``epoch_N`` folder; without an index nothing happens.
    """
    path = folder / INDEX
    if not path.is_file():
        return
    index = json.loads(path.read_text(encoding="utf-8"))
    written: set[str] = set()
    for name in set(index["weight_map"].values()):
        with safe_open(folder / name, framework="pt") as file:
            written.update(file.keys())
    kept = {tensor: name for tensor, name in index["weight_map"].items() if tensor in written}
    if kept != index["weight_map"]:
        index["weight_map"] = kept
        write_whole(path, json.dumps(index, indent=2))


def name_base_model(folder: Path, base: Path) -> None:
    """Say in a LoRA adapter's config what it adapts, so that PEFT can load both by its name alone.

    Args:
        folder (Path): an ``epoch_N`` folder; without an adapter nothing happens.
        base (Path): the base model's folder. Where torchtune knows its name on the hub, that stays.
    """
    path = folder / ADAPTER
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        named = {"base_model_name_or_path": str(base.absolute()), "task_type": "CAUSAL_LM"}
        write_whole(path, json.dumps(named | config, indent=2))


def separate_adapter(folder: Path) -> None:
    """Move a LoRA adapter in PEFT's format out of the merged model's folder, to ``adapter``.

    Beside the merged weights, transformers would take it for all there is, and look for its base
    model.

    Args:
        folder (Path): an ``epoch_N`` folder; without merged weights the adapter stays.
    """
    if not any(folder.glob("model*.safetensors")):
        return
    for name in ("adapter_model.safetensors", ADAPTER):
        if (folder / name).is_file():
            (folder / "adapter").mkdir(exist_ok=True)
            os.replace(folder / name, folder / "adapter" / name)
