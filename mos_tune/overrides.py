# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A config and its changes on the command line, as torchtune reads them, and datasets left out."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import KeyValidationError
from torchtune.config._parse import TuneRecipeArgumentParser
from torchtune.config._utils import _merge_yaml_and_cli_args

from mos_tune.errors import UserError

_NULL = ("null", "Null", "NULL", "None", "~")
_DATASETS = ("dataset", "validation.dataset")


def read_config(arguments: Sequence[str]) -> DictConfig:
    """Read ``--config FILE`` and what follows it.

    torchtune removes no component; here ``~dataset.NAME`` and ``dataset.NAME=null`` leave a dataset
    out, its held-out set too, and ``~scorer`` is like ``scorer=null``.

    Args:
        arguments (Sequence[str]): the command line.

    Raises:
        UserError: if there is nothing of that name to leave out, or a key is no text.
        ValueError: as torchtune raises it, for what it cannot read.
    """
    try:
        given, overrides = TuneRecipeArgumentParser().parse_known_args(list(arguments))
    except (TypeError, KeyValidationError) as error:
        said = str(error).splitlines()[0]
        raise UserError(
            "a key of the config is no text: YAML reads a bare no, off, on, yes, true, null or "
            f"number as a value; quote it ({said})"
        ) from error
    config = vars(given)
    left_out = {
        position: path
        for position, override in enumerate(overrides)
        if (path := _left_out(override)) is not None
    }
    held_out = (config.get("validation") or {}).get("dataset") or {}
    # Held-out sets first: a dataset takes its own with it.
    for path in sorted(left_out.values(), key=lambda one: not one.startswith("validation.")):
        _remove(config, path)
        section, _, name = path.rpartition(".")
        if section == "dataset":
            held_out.pop(name, None)
    kept = [
        override
        for position, override in enumerate(overrides)
        if position not in left_out
        and not any(
            later > position and override.startswith(f"{path}.") for later, path in left_out.items()
        )
    ]
    return _merge_yaml_and_cli_args(given, kept)


def _left_out(override: str) -> str | None:
    if override.startswith("~"):
        return override[1:].partition("=")[0]
    path, _, value = override.partition("=")
    is_dataset = path.rpartition(".")[0] in _DATASETS
    return path if is_dataset and value in _NULL else None


def _remove(config: dict[str, Any], path: str) -> None:
    parent: Any = config
    *parents, last = path.split(".")
    for key in parents:
        parent = parent.get(key) if isinstance(parent, Mapping) else None
    if not isinstance(parent, dict) or last not in parent:
        there = [key for key in parent if isinstance(key, str)] if isinstance(parent, dict) else []
        near = [".".join([*parents, key]) for key in get_close_matches(last, there, n=1)]
        hint = f"; the nearest is {near[0]}" if near else ""
        raise UserError(f"the config has no {path} to leave out{hint}")
    del parent[last]
