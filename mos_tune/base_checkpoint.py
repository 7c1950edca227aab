# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The folder of a checkpoint that training or evaluation begins with."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from mos_tune.errors import UserError

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SAMPLES = 32
_SAMPLE_BYTES = 1 << 16


def weight_files(folder: Path) -> list[Path]:
    """Give the files of a checkpoint's folder that hold weights."""
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)


def hf_weight_files(folder: Path) -> list[str]:
    """Give the names of the weight files in Hugging Face format, of the index if there is one."""
    for name in _INDEXES:
        if (folder / name).is_file():
            index = json.loads((folder / name).read_text(encoding="utf-8"))
            return sorted(set(index["weight_map"].values()))
    return sorted(path.name for suffix in _SUFFIXES[:2] for path in folder.glob(f"*{suffix}"))


def fingerprint(files: list[Path]) -> str:
    """Tell one checkpoint's weights from another's without reading all of them.

    Args:
        files (list[Path]): the weight files, in any order.

    Returns:
        str: a checksum of their names, sizes and 32 samples of 64 KiB each.
    """
    digest = blake2b(digest_size=16)
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with open(path, "rb") as file:
            for sample in range(_SAMPLES):
                file.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def check_base_checkpoint(section: Mapping[str, Any]) -> None:
    """Check that the files of a base checkpoint are whole, before they are loaded.

    Args:
        section (Mapping[str, Any]): ``checkpointer`` of a config. Files that are missing are left
            to the checkpointer, whose error names them.

    Raises:
        UserError: naming the key and the file.
    """
    folder = Path(str(section.get("checkpoint_dir")))
    config = folder / "config.json"
    if config.is_file():
        try:
            dict(json.loads(config.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"checkpointer.checkpoint_dir: {config} is damaged: {error}") from error
    files = section.get("checkpoint_files")
    if isinstance(files, str) or isinstance(files, Mapping) or files is None:
        return
    for path in (folder / str(name) for name in files):
        if path.suffix == ".safetensors" and path.is_file():
            try:
                # Reads the header alone, which tells how long the file must be.
                with safe_open(path, framework="pt"):
                    pass
            except SafetensorError as error:
                raise UserError(
                    f"checkpointer.checkpoint_files: {path} is damaged: {error}"
                ) from error
