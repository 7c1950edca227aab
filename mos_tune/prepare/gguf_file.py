# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Reads values and tensors of a GGUF file."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mos_tune.errors import UserError


def import_gguf() -> ModuleType:
    """Returns the ``gguf`` package, which only the preparation needs.

    Raises:
        UserError: If it is not installed.
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
        path: The file.

    Raises:
        UserError: If the ``gguf`` package is not installed.
    """

    def __init__(self, path: Path) -> None:
        gguf = import_gguf()
        self._path = path
        self._dequantize = gguf.dequantize
        self._reader = gguf.GGUFReader(path)

    def value(self, key: str) -> Any:
        """Returns a metadata value.

        Raises:
            UserError: If the file does not have it.
        """
        field = self._reader.get_field(key)
        if field is None:
            raise UserError(f"{self._path} has no {key}, which the conversion needs")
        return field.contents()

    def expect(self, key: str, expected: str) -> None:
        """Checks a metadata value.

        Raises:
            UserError: If it is another one.
        """
        found = self.value(key)
        if found != expected:
            raise UserError(
                f"{self._path} has {key} = {found!r}; only {expected!r} can be converted"
            )

    def tensors(self) -> dict[str, np.ndarray]:
        """Returns every tensor in float32, under its GGUF name."""
        return {
            tensor.name: np.array(self._dequantize(tensor.data, tensor.tensor_type), np.float32)
            for tensor in self._reader.tensors
        }
