# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Qwen1.5, which has Qwen2's architecture."""

from torchtune.models.qwen2 import qwen2
from torchtune.modules import TransformerDecoder


def qwen1_5_0_5b() -> TransformerDecoder:
    """Build Qwen1.5-0.5B: 463,987,712 parameters, input and output embeddings tied.

    Unlike Qwen2-0.5B it has as many key and value heads as query heads. Its published checkpoint of
    1.24 GB holds the tied matrix twice; torchtune's checkpointer skips the second copy.

    Returns:
        TransformerDecoder: the model, uninitialised until a checkpoint is loaded.

    Source: ``config.json`` of https://huggingface.co/Qwen/Qwen1.5-0.5B.
    """
    return qwen2(
        vocab_size=151_936,
        num_layers=24,
        num_heads=16,
        num_kv_heads=16,
        embed_dim=1024,
        intermediate_dim=2816,
        max_seq_len=32_768,
        attn_dropout=0.0,
        norm_eps=1e-6,
        rope_base=1_000_000.0,
        tie_word_embeddings=True,
    )
