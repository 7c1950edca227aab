# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Llama weights and hyper-parameters of a GGUF file in the names of Hugging Face."""

from typing import Any

import numpy as np
import torch

from mos_tune.errors import UserError
from mos_tune.prepare.gguf_file import GGUFFile

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def llama_config(file: GGUFFile) -> dict[str, Any]:
    """Returns the content of ``config.json``.

    Args:
        file: A GGUF file of the Llama architecture.

    Raises:
        UserError: If it is of another architecture.
    """
    file.expect("general.architecture", "llama")
    tokens = file.value("tokenizer.ggml.tokens")
    # GGUF stores float32: six digits give the number that was meant, 1e-05 and not 9.99999e-06.
    epsilon = float(f"{file.value('llama.attention.layer_norm_rms_epsilon'):.6g}")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": file.value("llama.embedding_length"),
        "intermediate_size": file.value("llama.feed_forward_length"),
        "num_hidden_layers": file.value("llama.block_count"),
        "num_attention_heads": file.value("llama.attention.head_count"),
        "num_key_value_heads": file.value("llama.attention.head_count_kv"),
        "max_position_embeddings": file.value("llama.context_length"),
        "rope_theta": file.value("llama.rope.freq_base"),
        "rms_norm_eps": epsilon,
        "vocab_size": len(tokens),
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": file.value("tokenizer.ggml.eos_token_id"),
        "pad_token_id": file.value("tokenizer.ggml.padding_token_id"),
        "torch_dtype": "float32",
    }


def llama_weights(file: GGUFFile, config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Returns the state dict of ``LlamaForCausalLM``, in float32.

    Args:
        file: A GGUF file of the Llama architecture.
        config: What :func:`llama_config` returned for it.

    Raises:
        UserError: If the file has a tensor that such a model has not.
    """
    heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}
    weights = {}
    for name, array in file.tensors().items():
        *block, part, kind = name.split(".")
        if kind != "weight" or part not in (_LAYER_NAMES if block else _NAMES):
            raise UserError(f"the GGUF file has a tensor {name}, which a Llama model has not")
        if part in heads:
            array = _halves_apart(array, config[heads[part]])
        prefix = f"model.layers.{block[1]}.{_LAYER_NAMES[part]}" if block else _NAMES[part]
        weights[f"{prefix}.weight"] = torch.from_numpy(np.ascontiguousarray(array))
    if "lm_head.weight" in weights:
        config["tie_word_embeddings"] = False
    return weights


def _halves_apart(array: np.ndarray, heads: int) -> np.ndarray:
    """Reorders the rows of a query or key projection for Hugging Face's rotary embedding.

    GGUF (and torchtune) rotate neighbouring pairs of a head's features; Hugging Face rotates
    its first half against its second.

    Args:
        array: Shape ``[heads * head_dim, dim]``.
        heads: Number of heads.
    """
    rows, columns = array.shape
    pairs = array.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)
