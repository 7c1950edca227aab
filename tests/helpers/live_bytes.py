# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""How much memory tensors take at most, on any device."""

import weakref
from collections.abc import Callable

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _LiveStorages(TorchDispatchMode):
    """Count the bytes of every storage from its first appearance to its end."""

    def __init__(self, known: list[torch.Tensor]):
        super().__init__()
        self._known = {tensor.untyped_storage()._cdata for tensor in known}
        self._now = 0
        self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, torch.Tensor):
                self._count(result.untyped_storage())
        return results

    def _count(self, storage):
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self._now += storage.nbytes()
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._end, key, storage.nbytes())

    def _end(self, key, size):
        self._known.discard(key)
        self._now -= size


def peak_beside(model: nn.Module, action: Callable[[], None]) -> int:
    """Give the most bytes that tensors took at once during ``action``, the model not counted."""
    with _LiveStorages([*model.parameters(), *model.buffers()]) as storages:
        action()
    return storages.peak
