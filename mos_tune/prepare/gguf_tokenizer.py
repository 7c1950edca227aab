# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The byte-level BPE tokenizer inside a GGUF file as a Hugging Face one."""

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from mos_tune.prepare.gguf_file import GGUFFile

_CONTROL = 3
"""GGUF's token type of special tokens."""


def write_tokenizer(file: GGUFFile, directory: Path) -> None:
    """Writes ``tokenizer.json``, ``tokenizer_config.json`` and ``special_tokens_map.json``.

    Args:
        file: A GGUF file with SmolLM's kind of tokenizer: byte-level BPE that reads every digit
            by itself.
        directory: Where the files go; it exists.

    Raises:
        UserError: If the file has another kind of tokenizer.
    """
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
