# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The checkpoint to evaluate: its files, and whether it fits the config."""

import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torchtune.training import FullModelHFCheckpointer

from mos_tune.components import build
from mos_tune.errors import UserError


def exported_checkpoint(checkpoint_dir: str, model_type: str) -> FullModelHFCheckpointer:
    """Build torchtune's checkpointer for a folder in Hugging Face format, whatever its files.

    A training run's ``epoch_N`` and a downloaded model have their weights in differently named and
    numbered files; here the folder is all that has to be named.

    Args:
        checkpoint_dir (str): the folder.
        model_type (str): torchtune's name of the architecture, such as ``"LLAMA3"``.

    Raises:
        UserError: if the folder or something in it is missing.
    """
    folder = Path(checkpoint_dir)
    if not folder.is_dir():
        raise UserError(f"checkpoint_dir is {checkpoint_dir}, where no folder is")
    files = _files_of_index(folder) or sorted(
        path.name for suffix in (".safetensors", ".bin") for path in folder.glob(f"*{suffix}")
    )
    if not files:
        raise UserError(
            f"checkpoint_dir is {checkpoint_dir}, which has no .safetensors or .bin file"
        )
    for name in [*files, "config.json"]:
        if not (folder / name).is_file():
            raise UserError(f"checkpoint_dir is {checkpoint_dir}, which lacks {name}")
    return FullModelHFCheckpointer(
        checkpoint_dir=checkpoint_dir,
        checkpoint_files=files,
        model_type=model_type,
        # Nothing is written; torchtune only wants a folder that is not within the checkpoint.
        output_dir=str(folder.resolve().parent),
    )


def check_vocabulary(model: DictConfig, tokenizer: Any, max_seq_length: int) -> None:
    """Check that model, tokenizer and length go together, without memory for the model.

    Args:
        model (DictConfig): the config's section.
        tokenizer (Any): the one built from the config.
        max_seq_length (int): as in the config.

    Raises:
        UserError: if the tokenizer has tokens that the model has no embedding for, or texts may be
            longer than the model's positions.
    """
    with torch.device("meta"):
        built = build("model", model)
    rows = built.tok_embeddings.num_embeddings
    # torchtune's Qwen2 tokenizer does not tell.
    tokens = getattr(tokenizer, "vocab_size", 0)
    if tokens > rows:
        raise UserError(
            f"tokenizer has {tokens} tokens, but the model's embedding has {rows}; is it the "
            "tokenizer of this checkpoint?"
        )
    longest = getattr(built, "max_seq_len", max_seq_length)
    if not 1 < max_seq_length <= longest:
        raise UserError(
            f"max_seq_length is {max_seq_length}; the model takes from 2 to {longest} tokens"
        )


def _files_of_index(folder: Path) -> list[str]:
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if (folder / name).is_file():
            index = json.loads((folder / name).read_text(encoding="utf-8"))
            return sorted(set(index["weight_map"].values()))
    return []
