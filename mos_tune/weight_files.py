# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Which weights a folder holds."""

from hashlib import blake2b
from pathlib import Path

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_SAMPLES = 32
_SAMPLE_BYTES = 1 << 16


def weight_files(folder: Path) -> list[Path]:
    """Give the files of a checkpoint's folder that hold weights."""
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)


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
