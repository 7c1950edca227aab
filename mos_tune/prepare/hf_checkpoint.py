# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Converts a GGUF model into a directory that transformers and torchtune load."""

import json
from pathlib import Path

from safetensors.torch import save_file

from mos_tune.prepare.gguf_file import GGUFFile
from mos_tune.prepare.gguf_llama import llama_config, llama_weights
from mos_tune.prepare.gguf_tokenizer import write_tokenizer


def convert_gguf(path: Path, directory: Path) -> None:
    """Writes a Hugging Face checkpoint with its tokenizer.

    The weights are in float32, so the only loss of precision is the GGUF file's own.

    Args:
        path: A GGUF file of a Llama model with SmolLM's kind of tokenizer.
        directory: Where the files go; it exists.

    Raises:
        UserError: If the file holds another kind of model or tokenizer, or the ``gguf`` package
            is not installed.
    """
    file = GGUFFile(path)
    config = llama_config(file)
    weights = llama_weights(file, config)
    # transformers refuses a safetensors file that does not name the framework.
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    (directory / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    write_tokenizer(file, directory)
