# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What a Hugging Face model directory says about its special tokens."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mos_tune.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """Give the mapping in a JSON file.

    Raises:
        UserError: if the file is not valid JSON.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"tokenizer.tokenizer_dir: {path} is not valid JSON: {error}") from error


def special_token_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Give ``bos_token``, ``eos_token``, ``pad_token`` and ``unk_token`` as far as given.

    Args:
        config (Mapping[str, Any]): the content of ``tokenizer_config.json``; a token is a string or
            a mapping with ``content``, and null where a model has none.
    """
    names = {}
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        token = config.get(key)
        if token is not None:
            names[key] = token["content"] if isinstance(token, Mapping) else str(token)
    return names


def stop_tokens(directory: Path, eos_id: int) -> list[int]:
    """Give ``eos_id`` and the further end tokens of ``generation_config.json``."""
    path = directory / "generation_config.json"
    more = read_json(path).get("eos_token_id") if path.is_file() else None
    ids = more if isinstance(more, list) else [] if more is None else [more]
    return [eos_id, *(i for i in ids if i != eos_id)]
