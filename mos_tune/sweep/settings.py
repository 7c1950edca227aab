# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Settings compared one by one."""

from collections.abc import Iterator
from typing import Any

from omegaconf import OmegaConf


def first_difference(there: Any, here: Any) -> tuple[str, Any, Any] | None:
    """Tells the first setting in which two configs differ.

    Args:
        there: A config, or a container of one.
        here: Another.

    Returns:
        Its dotted key and both values, None where there is none; or None if all are the same.
    """
    first, second = (
        dict(_flat(OmegaConf.to_container(OmegaConf.create(c)))) for c in (there, here)
    )
    for key in {**first, **second}:
        if first.get(key) != second.get(key):
            return key, first.get(key), second.get(key)
    return None


def _flat(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield key, node
        return
    for name, child in node.items():
        yield from _flat(child, f"{key}.{name}" if key else str(name))
