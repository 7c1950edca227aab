# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Small random checkpoints in Hugging Face's format, for tests that compare with transformers."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCAB_SIZE = 256
MAX_SEQ_LEN = 256

TinyModel = tuple[PreTrainedModel, dict[str, Any]]


def tiny_llama(directory: Path, width: int = 64) -> TinyModel:
    """Write a Llama-3 with grouped queries; give it and the config of torchtune's builder."""
    hf_model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=width,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=MAX_SEQ_LEN,
            rope_theta=500_000.0,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
        )
    )
    builder = {
        "_component_": "torchtune.models.llama3.llama3",
        "vocab_size": VOCAB_SIZE,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "embed_dim": width,
        "intermediate_dim": 128,
        "max_seq_len": MAX_SEQ_LEN,
        "rope_base": 500_000,
        "norm_eps": 1e-5,
    }
    return _randomise_and_save(hf_model, directory), builder


def tiny_gemma(directory: Path) -> TinyModel:
    """Write a Gemma with one key and value head; give it and the config of torchtune's builder."""
    hf_model = GemmaForCausalLM(
        GemmaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=MAX_SEQ_LEN,
            rms_norm_eps=1e-6,
        )
    )
    builder = {
        "_component_": "torchtune.models.gemma.gemma",
        "vocab_size": VOCAB_SIZE,
        "num_layers": 2,
        "num_heads": 4,
        "head_dim": 16,
        "num_kv_heads": 1,
        "embed_dim": 64,
        "intermediate_dim": 128,
        "max_seq_len": MAX_SEQ_LEN,
        "norm_eps": 1e-6,
    }
    return _randomise_and_save(hf_model, directory), builder


def tiny_qwen2(directory: Path) -> TinyModel:
    """Write a sibling of Qwen1.5-0.5B; give it and the config of torchtune's builder.

    Like the published checkpoint, the file holds the tied matrix twice.
    """
    hf_model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=VOCAB_SIZE,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=MAX_SEQ_LEN,
            rope_theta=1_000_000.0,
            rms_norm_eps=1e-6,
            tie_word_embeddings=True,
        )
    )
    builder = {
        "_component_": "torchtune.models.qwen2.qwen2",
        "vocab_size": VOCAB_SIZE,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 4,
        "embed_dim": 64,
        "intermediate_dim": 128,
        "max_seq_len": MAX_SEQ_LEN,
        "norm_eps": 1e-6,
        "rope_base": 1_000_000.0,
        "tie_word_embeddings": True,
    }
    hf_model = _randomise_and_save(hf_model, directory)
    file = directory / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, file, metadata={"format": "pt"})
    return hf_model, builder


def _randomise_and_save(hf_model: PreTrainedModel, directory: Path) -> PreTrainedModel:
    # Norms and biases start at constants that would hide a mistake in their conversion.
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in hf_model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.add_(0.2 * noise)
            else:
                parameter.copy_(0.15 * noise)
    hf_model.eval()
    hf_model.save_pretrained(directory)
    return hf_model
