# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The keys that are no mistake are those that the installed torchtune reads."""

import ast
from pathlib import Path

import pytest
import torchtune
import yaml
from torchtune.training import PROFILER_KEY

from mos_tune.training.config import STOCK_KEYS

RECIPES = Path(torchtune.__file__).parent.parent / "recipes"
FILES = [
    *(
        RECIPES / f"{kind}_finetune_{where}.py"
        for kind in ("full", "lora")
        for where in ("distributed", "single_device")
    ),
    *Path(torchtune.__file__).parent.joinpath("training/checkpointing").glob("*.py"),
]


def keys_read(file):
    """What is read of ``cfg`` or ``self._cfg``: attributes, ``get("...")`` and ``[...]``."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and _is_config(node.value):
            if node.attr not in ("get", "copy"):
                yield node.attr
        elif isinstance(node, ast.Subscript) and _is_config(node.value):
            yield node.slice.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "get" and _is_config(node.func.value):
                yield {"PROFILER_KEY": PROFILER_KEY}.get(ast.unparse(node.args[0])) or node.args[
                    0
                ].value


def _is_config(node):
    return (isinstance(node, ast.Name) and node.id == "cfg") or (
        isinstance(node, ast.Attribute) and node.attr == "_cfg"
    )


def test_the_list_is_what_the_stock_recipes_read():
    read = {key for file in FILES for key in keys_read(file)}
    assert read == set(STOCK_KEYS)


@pytest.mark.parametrize("file", FILES[:4], ids=lambda file: file.stem)
def test_the_configs_that_torchtune_has_for_them_are_all_of_known_keys(file):
    kind = file.stem.split("_")[0]
    where = file.stem.removeprefix(f"{kind}_finetune_")
    ends = {"distributed": "", "single_device": "_single_device"}[where]
    unknown = {
        config.name: keys
        for config in RECIPES.glob(f"configs/*/*[0-9]B_{kind}{ends}.yaml")
        if (keys := set(yaml.safe_load(config.read_text())) - set(STOCK_KEYS))
    }
    assert unknown == {}
