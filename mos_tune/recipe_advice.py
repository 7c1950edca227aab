# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Advice in place of torchtune's error when ``tune run`` cannot find one of our recipes.

torchtune installs a top-level package ``recipes`` that refuses to be imported, and ``tune run``
looks there before it looks into the current folder, unless torchrun starts the recipe. Nothing of
ours runs by then, so mos_tune_recipe_advice.pth, which is installed beside the package, imports
this module whenever Python starts. It must stay light: no import but ``sys`` at the top.

When the recipe will be found, the same place lets ``tune run`` end with one line and the workers'
exit code (mos_tune.launcher): torchrun offers no other.
"""

import sys

RECIPES = (
    "full_finetune_mos_distributed",
    "full_finetune_mos_single_device",
    "lora_finetune_mos_distributed",
    "lora_finetune_mos_single_device",
    "eleuther_eval_mos",
    "mt_bench_mos",
    "select_examples",
)


class _Adviser:
    """An import finder that finds nothing; it ends ``tune run`` before torchtune is imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torchtune":
            sys.meta_path.remove(self)
            text = advice(sys.argv)
            if text:
                raise SystemExit(text)
            if _recipe_position(sys.argv) is not None:
                from mos_tune import launcher

                launcher.prepare(sys.argv)


def advice(argv: list[str]) -> str | None:
    """Say how to start the recipe that ``tune run`` is about to look for in vain.

    Args:
        argv (list[str]): the program and its arguments as the user gave them.

    Returns:
        str | None: the advice; None if this is not ``tune run`` with one of our recipes, or if the
            recipe will be found.
    """
    import os.path  # here, because few starts of Python need it
    import shlex

    position = _recipe_position(argv)
    if position is None:
        return None
    launched_by_torchrun = position > 2
    search = [os.getcwd(), *sys.path] if launched_by_torchrun else [*sys.path, os.getcwd()]
    if _is_found(os.path.splitext(argv[position])[0].replace("/", "."), search):
        return None

    recipe = f"recipes/{os.path.splitext(os.path.basename(argv[position]))[0]}.py"
    options = argv[2:position] if launched_by_torchrun else ["--nproc_per_node", "1"]
    command = shlex.join(["tune", "run", *options, recipe, *argv[position + 1 :]])
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.exists(recipe):
        folder = ""
    elif os.path.exists(os.path.join(home, recipe)):
        folder = f"    cd {shlex.quote(home)}\n"
    else:
        folder = "    cd MOS_TUNE  # your copy of the mos-tune repository, which has recipes/\n"
    return (
        f"tune run cannot find {argv[position]}: start a mos-tune recipe from the mos-tune folder, "
        f"as {recipe}, and with --nproc_per_node N, also for one process (N = 1):\n\n"
        f"{folder}    {command}\n"
    )


def _recipe_position(argv: list[str]) -> int | None:
    import os.path

    if os.path.basename(argv[0]).split(".")[0] not in ("tune", "-m") or argv[1:2] != ["run"]:
        return None
    end = argv.index("--config") if "--config" in argv else len(argv)
    names = [os.path.splitext(os.path.basename(argument))[0] for argument in argv[:end]]
    return next((i for i, name in enumerate(names) if name in RECIPES and "=" not in argv[i]), None)


def _is_found(module: str, search: list[str]) -> bool:
    import os.path
    from importlib.machinery import PathFinder

    package, _, rest = module.partition(".")
    spec = PathFinder.find_spec(package, search) if package else None
    if spec is None or not rest:
        return spec is not None
    places = spec.submodule_search_locations or []
    return any(os.path.exists(os.path.join(place, f"{rest}.py")) for place in places)


if sys.argv[1:2] == ["run"]:
    sys.meta_path.insert(0, _Adviser())
