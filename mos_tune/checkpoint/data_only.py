# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Reading sharded checkpoints without running code that they may hold.

``torch.distributed.checkpoint`` unpickles its index and all that is no tensor without restriction;
these two classes take data only.
"""

import io
import pickle
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, metadata
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import ReadItem

_INDEX = ".metadata"

_ALLOWED = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("pathlib", "PosixPath"),
    ("collections", "OrderedDict"),
}


class DataOnlyReader(FileSystemReader):
    """A reader whose index may name torch's own metadata classes and nothing else."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the index.

        Raises:
            pickle.UnpicklingError: if the index would call anything else.
        """
        with self.fs.create_stream(self.fs.concat_path(self.path, _INDEX), "rb") as file:
            index: Metadata = _DataOnlyUnpickler(file).load()
        index.storage_meta = metadata.StorageMeta(load_id=self.load_id)
        return index


class DataOnlyPlanner(DefaultLoadPlanner):
    """A planner that reads what is no tensor with ``weights_only``."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Replace the bytes by their own safe encoding, and go on as torch does."""
        data = torch.load(value, weights_only=True)
        safe = io.BytesIO()
        torch.save(data, safe)
        safe.seek(0)
        super().load_bytes(read_item, safe)


class _DataOnlyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        own = module == metadata.__name__ and isinstance(vars(metadata).get(name), type)
        dtype = module == "torch" and isinstance(vars(torch).get(name), torch.dtype)
        if own and vars(metadata)[name].__module__ == module or dtype:
            return super().find_class(module, name)
        if (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{_INDEX} names {module}.{name}, which is no data")
