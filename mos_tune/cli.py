# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The ``mos-tune`` command: lists and copies recipes and configs, and starts all else.

A command's module is imported when it is used, so that none waits for what it does not need.
"""

import argparse
import ast
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from mos_tune.errors import UserError, not_installed
from mos_tune.shipped import CONFIGS, RECIPES, shipped

COMMANDS = {
    "run": ("mos_tune.launcher:main", "start a recipe, on any number of processes"),
    "ls": ("mos_tune.cli:list_all", "list the recipes and configs that come with mos-tune"),
    "cp": ("mos_tune.cli:copy", "copy one of them, to change it"),
    "sweep": ("mos_tune.sweep.command:main", "train many rows of a table, and print it"),
    "table": ("mos_tune.evaluation.table:main", "print one table of evaluated runs"),
    "picture": ("mos_tune.metrics.picture:main", "draw a run's mixture.png again"),
    "perplexities": ("mos_tune.perplexities:main", "print what a run has learned, by dataset"),
    "early-stop": ("mos_tune.early_stop:main", "print max_epochs by a run's best held-out losses"),
    "judge": ("mos_tune.evaluation.mt_bench.judge:main", "grade MT-bench answers"),
    "prepare": ("mos_tune.cli:prepare", "fetch and convert public models, data and benchmarks"),
}
"""Function and purpose of each command; the function takes what follows the name."""

PREPARATIONS = {
    "smollm2": ("mos_tune.prepare.smollm2:main", "SmolLM2-135M and four real datasets"),
    "benchmarks": ("mos_tune.prepare.benchmarks:main", "MMLU, GSM8K, MATH and MT-bench"),
}

_EXAMPLES = """\
examples:
  mos-tune run --nproc_per_node 2 full_finetune_mos_distributed --config tiny_llama3_mos
  mos-tune cp tiny_llama3_mos mine.yaml

Every command has a --help of its own."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        arguments (Sequence[str] | None): the command line. Default: this process's.

    Raises:
        SystemExit: if the command fails.
    """
    try:
        given = sys.argv[1:] if arguments is None else arguments
        _dispatch("mos-tune", "Fine-tune on a learned mixture.", COMMANDS, given, _EXAMPLES)
    except UserError as error:
        sys.exit(f"mos-tune stopped: {error}")


def prepare(arguments: Sequence[str]) -> None:
    """Run ``mos-tune prepare``."""
    about = "Fetch and convert what the real configs and the evaluation read."
    examples = """\
examples:
  mos-tune prepare smollm2
  mos-tune prepare benchmarks --output-dir data/benchmarks"""
    _dispatch("mos-tune prepare", about, PREPARATIONS, arguments, examples)


def _dispatch(
    prog: str,
    about: str,
    commands: Mapping[str, tuple[str, str]],
    arguments: Sequence[str],
    examples: str,
) -> None:
    width = max(map(len, commands))
    listed = "\n".join(f"  {name:{width}}  {purpose}" for name, (_, purpose) in commands.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} NAME ...",
        description=f"{about}\n\n{listed}",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=commands, metavar="NAME", help="one of those above")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its own")
    options = parser.parse_args(arguments or ["--help"])
    module, _, function = commands[options.name][0].partition(":")
    try:
        command = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    command(options.arguments)


def list_all(arguments: Sequence[str]) -> None:
    """Run ``mos-tune ls``."""
    _parser(
        "ls",
        "List the recipes and configs that come with mos-tune.",
        """\
examples:
  mos-tune ls
  mos-tune ls | grep lora""",
    ).parse_args(arguments)
    recipes, configs = RECIPES.names(), CONFIGS.names()
    width = max(map(len, [*recipes, *configs]))
    print("recipes:")
    for name, file in recipes.items():
        about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        print(f"  {name:{width}}  {about.split('.', 1)[0]}")
    print("configs:")
    for name, file in configs.items():
        about = file.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        # A sentence that continues in the next line is cut at its colon.
        print(f"  {name:{width}}  {about.partition(': ')[0].rstrip('.:')}")


def copy(arguments: Sequence[str]) -> None:
    """Run ``mos-tune cp``.

    Raises:
        UserError: if there is no such recipe or config, or no folder for the copy.
    """
    parser = _parser(
        "cp",
        "Copy a recipe or config that comes with mos-tune, as `tune cp` does for torchtune's.",
        """\
examples:
  mos-tune cp tiny_llama3_mos .
  mos-tune cp eval/llama3_8B mine/eval.yaml --make-parents

`mos-tune run` prefers a copy in the folder where it is started to what it is a copy of.""",
    )
    parser.add_argument("name", metavar="NAME", help="as `mos-tune ls` has it")
    parser.add_argument(
        "destination",
        metavar="DEST",
        type=Path,
        nargs="?",
        default=Path(),
        help="folder or file; the suffix is added if it lacks; default: this folder",
    )
    parser.add_argument(
        "-n", "--no-clobber", action="store_true", help="keep a file that is there already"
    )
    parser.add_argument("--make-parents", action="store_true", help="make the folders of DEST")
    options = parser.parse_args(arguments)
    source = shipped(options.name, RECIPES, CONFIGS)
    destination: Path = options.destination
    if destination.is_dir():
        destination /= source.name
    elif destination.suffix != source.suffix:
        destination = destination.with_name(f"{destination.name}{source.suffix}")
    if options.no_clobber and destination.exists():
        print(f"{destination} is there already, and stays")
        return
    if options.make_parents:
        destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(source, destination)
    except OSError as error:
        hint = "" if destination.parent.is_dir() else "; --make-parents makes its folder"
        raise UserError(f"cannot write {destination}: {error.strerror}{hint}") from error
    print(f"copied to {destination}")


def _parser(command: str, about: str, examples: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"mos-tune {command}",
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


if __name__ == "__main__":
    main()
