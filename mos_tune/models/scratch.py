# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A starting checkpoint for a model that nobody has trained yet."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor
from torchtune.training import FullModelHFCheckpointer

from mos_tune.distributed import get_world_size_and_rank
from mos_tune.errors import UserError, check_whole
from mos_tune.files import let_others_read

EMBEDDING_STD = 0.02

# What a size is called in a Hugging Face config.json.
HF_NAMES = {
    "vocab_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "embed_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "max_seq_len": "max_position_embeddings",
    "rope_base": "rope_theta",
    "norm_eps": "rms_norm_eps",
    "seed": "initializer_seed",
}


class ScratchHFCheckpointer(FullModelHFCheckpointer):
    """torchtune's Hugging Face checkpointer, with a checkpoint of random weights to start from.

    If ``checkpoint_dir`` is missing or empty, rank 0 writes a Llama checkpoint there, as
    ``model.safetensors`` and ``config.json``. Everything else is the stock class's.

    The weights are normal with mean 0. Their standard deviation is 0.02 in the embedding and the
    output projection, so that the first perplexity is about ``vocab_size``, and elsewhere
    ``1 / sqrt(inputs)``, divided by ``sqrt(2 * num_layers)`` where a layer's output is added to its
    input. (At width 64, 0.02 everywhere takes 1.6 times as many steps to learn to copy.) Norms
    are 1.

    Args:
        checkpoint_dir (str): folder of the starting checkpoint. It may lie in ``output_dir``, but
            ``output_dir`` not in it.
        output_dir (str): folder of the trained checkpoints.
        vocab_size (int): number of token ids. This and what follows are the model's own arguments,
            so a config shares them: ``vocab_size: ${model.vocab_size}``.
        num_layers (int): number of transformer layers.
        num_heads (int): query heads of a layer.
        num_kv_heads (int): key and value heads of a layer.
        embed_dim (int): width of the hidden states.
        intermediate_dim (int): width inside a feed-forward layer.
        max_seq_len (int): longest sequence, in tokens.
        rope_base (int): base of the rotary embeddings' angles. Default 500000, as in Llama 3.
        norm_eps (float): epsilon of the norms. Default 1e-5, as in Llama 3.
        seed (int): seed of the weights. Default 0, and not the run's seed, so that runs with
            several seeds start from the same model.
        checkpoint_files (list[str] | None): as in the stock class. Default None: the file written.
        model_type (str): torchtune's name of the layout. Default ``"LLAMA3"``.
        **options (Any): the stock class's other arguments.

    Raises:
        UserError: if the heads do not divide the width or each other, or the folder holds
            something else than a checkpoint of these sizes and this seed.
    """

    def __init__(
        self,
        checkpoint_dir: str,
        output_dir: str,
        *,
        vocab_size: int,
        num_layers: int,
        num_heads: int,
        num_kv_heads: int,
        embed_dim: int,
        intermediate_dim: int,
        max_seq_len: int,
        rope_base: int = 500_000,
        norm_eps: float = 1e-5,
        seed: int = 0,
        checkpoint_files: list[str] | None = None,
        model_type: str = "LLAMA3",
        **options: Any,
    ) -> None:
        sizes = {
            "vocab_size": vocab_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "num_kv_heads": num_kv_heads,
            "embed_dim": embed_dim,
            "intermediate_dim": intermediate_dim,
            "max_seq_len": max_seq_len,
            "rope_base": rope_base,
            "norm_eps": norm_eps,
            "seed": seed,
        }
        for key in sizes:
            if key not in ("norm_eps", "seed"):
                check_whole(f"checkpointer.{key}", sizes[key])
        for whole, part in (("embed_dim", "num_heads"), ("num_heads", "num_kv_heads")):
            if sizes[whole] % sizes[part]:
                raise UserError(
                    f"checkpointer.{whole} must be a multiple of {part} ({sizes[part]}), "
                    f"got {sizes[whole]}"
                )
        folder = Path(checkpoint_dir)
        if get_world_size_and_rank()[1] == 0 and not (folder.exists() and any(folder.iterdir())):
            _write(folder, sizes)
        if dist.is_initialized():
            dist.barrier()
        _check(folder / "config.json", sizes)
        super().__init__(
            checkpoint_dir=checkpoint_dir,
            checkpoint_files=checkpoint_files or ["model.safetensors"],
            model_type=model_type,
            output_dir=output_dir,
            **options,
        )


def _write(folder: Path, sizes: dict[str, Any]) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "initializer_range": EMBEDDING_STD,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        **{HF_NAMES[key]: value for key, value in sizes.items()},
    }
    # A folder that is there is complete: it appears by renaming.
    unfinished = folder.with_name(folder.name + ".unfinished")
    unfinished.mkdir(parents=True, exist_ok=True)
    (unfinished / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = unfinished / "model.safetensors"
    save_file(_random_weights(sizes), weights, metadata={"format": "pt"})
    let_others_read(weights)
    unfinished.replace(folder)


def _random_weights(sizes: dict[str, Any]) -> dict[str, Tensor]:
    """Draw the weights in Hugging Face's layout."""
    generator = torch.Generator().manual_seed(sizes["seed"])
    width, inner, count = sizes["embed_dim"], sizes["intermediate_dim"], sizes["num_layers"]
    kv_width = width // sizes["num_heads"] * sizes["num_kv_heads"]

    def normal(outputs: int, inputs: int, std: float) -> Tensor:
        return torch.randn(outputs, inputs, generator=generator) * std

    weights = {
        "model.embed_tokens.weight": normal(sizes["vocab_size"], width, EMBEDDING_STD),
        "model.norm.weight": torch.ones(width),
        "lm_head.weight": normal(sizes["vocab_size"], width, EMBEDDING_STD),
    }
    into_residual = (2 * count) ** -0.5
    for layer in range(count):
        for name, outputs, inputs, scale in (
            ("self_attn.q_proj", width, width, 1.0),
            ("self_attn.k_proj", kv_width, width, 1.0),
            ("self_attn.v_proj", kv_width, width, 1.0),
            ("self_attn.o_proj", width, width, into_residual),
            ("mlp.gate_proj", inner, width, 1.0),
            ("mlp.up_proj", inner, width, 1.0),
            ("mlp.down_proj", width, inner, into_residual),
        ):
            weights[f"model.layers.{layer}.{name}.weight"] = normal(
                outputs, inputs, scale * inputs**-0.5
            )
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"model.layers.{layer}.{name}.weight"] = torch.ones(width)
    return weights


def _check(config_file: Path, sizes: dict[str, Any]) -> None:
    if not config_file.is_file():
        raise UserError(
            f"checkpointer.checkpoint_dir {config_file.parent} has files but no config.json; "
            "delete that folder or name another"
        )
    try:
        config = dict(json.loads(config_file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"checkpointer.checkpoint_dir: {config_file} is damaged: {error}"
        ) from error
    for key, value in sizes.items():
        found = config.get(HF_NAMES[key])
        if found != value:
            raise UserError(
                f"checkpointer.{key} is {value}, but the checkpoint in checkpointer.checkpoint_dir "
                f"{config_file.parent} has {found}; delete that folder or name another"
            )
