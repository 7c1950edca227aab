# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A GGUF model as a directory that transformers and torchtune load."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from mos_tune.errors import UserError
from mos_tune.files import let_others_read

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

_CONTROL = 3
"""GGUF's token type of special tokens."""


def convert_gguf(path: Path, directory: Path) -> None:
    """Write a Hugging Face checkpoint with its tokenizer.

    The weights are in float32, so the only loss of precision is the GGUF file's own.

    Args:
        path (Path): a GGUF file of a Llama model with SmolLM's kind of tokenizer.
        directory (Path): where the files go; it exists.

    Raises:
        UserError: if the file holds another kind of model or tokenizer, or the ``gguf`` package is
            not installed.
    """
    file = GGUFFile(path)
    config = _llama_config(file)
    weights = _llama_weights(file, config)
    # transformers refuses a safetensors file that does not name the framework.
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    let_others_read(directory / "model.safetensors")
    _write_json(directory / "config.json", config)
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(directory / "generation_config.json", generation)
    _write_tokenizer(file, directory)


def import_gguf() -> ModuleType:
    """Give the ``gguf`` package, which only the preparation needs.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise UserError(
            "the package gguf, which reads the model file, is not installed; run "
            "pip install -e '.[prepare]'"
        ) from error
    return gguf


class GGUFFile:
    """A GGUF file, read through the ``gguf`` package.

    Args:
        path (Path): the file.

    Raises:
        UserError: if the ``gguf`` package is not installed.
    """

    def __init__(self, path: Path) -> None:
        gguf = import_gguf()
        self._path = path
        self._dequantize = gguf.dequantize
        self._reader = gguf.GGUFReader(path)

    def value(self, key: str) -> Any:
        """Give a metadata value.

        Raises:
            UserError: if the file does not have it.
        """
        field = self._reader.get_field(key)
        if field is None:
            raise UserError(f"{self._path} has no {key}, which the conversion needs")
        return field.contents()

    def expect(self, key: str, expected: str) -> None:
        """Check a metadata value.

        Raises:
            UserError: if it is another one.
        """
        found = self.value(key)
        if found != expected:
            raise UserError(
                f"{self._path} has {key} = {found!r}; only {expected!r} can be converted"
            )

    def tensors(self) -> dict[str, np.ndarray]:
        """Give every tensor in float32, under its GGUF name."""
        return {
            tensor.name: np.array(self._dequantize(tensor.data, tensor.tensor_type), np.float32)
            for tensor in self._reader.tensors
        }


def _llama_config(file: GGUFFile) -> dict[str, Any]:
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


def _llama_weights(file: GGUFFile, config: dict[str, Any]) -> dict[str, torch.Tensor]:
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
    """Reorder the rows of a query or key projection for Hugging Face's rotary embedding.

    GGUF (and torchtune) rotate neighbouring pairs of a head's features; Hugging Face rotates
    its first half against its second.

    Args:
        array (np.ndarray): shape ``[heads * head_dim, dim]``.
        heads (int): number of heads.
    """
    rows, columns = array.shape
    pairs = array.reshape(heads, rows // heads // 2, 2, columns)
    return pairs.swapaxes(1, 2).reshape(rows, columns)


def _write_tokenizer(file: GGUFFile, directory: Path) -> None:
    # SmolLM's kind: byte-level BPE that reads every digit by itself.
    file.expect("tokenizer.ggml.model", "gpt2")
    file.expect("tokenizer.ggml.pre", "smollm")
    tokens: list[str] = file.value("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in file.value("tokenizer.ggml.merges")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = file.value("tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.save(str(directory / "tokenizer.json"))

    names = {
        "bos_token": tokens[file.value("tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[file.value("tokenizer.ggml.eos_token_id")],
        "pad_token": tokens[file.value("tokenizer.ggml.padding_token_id")],
        "unk_token": tokens[file.value("tokenizer.ggml.unknown_token_id")],
    }
    config = {
        **names,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": file.value("llama.context_length"),
        "clean_up_tokenization_spaces": False,
        "chat_template": file.value("tokenizer.chat_template"),
    }
    _write_json(directory / "tokenizer_config.json", config)
    _write_json(directory / "special_tokens_map.json", names)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
