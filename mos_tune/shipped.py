# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Recipes and configs by their names: in the current folder first, then in mos-tune.

This module is imported before torch is, and must stay light.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from mos_tune.errors import UserError

_PACKAGE = Path(__file__).parent

CLONE = None if (_PACKAGE / "recipes").is_dir() else _PACKAGE.parent
"""The clone that this package is imported from; None if it was installed from a wheel."""


@dataclass(frozen=True)
class Shipped:
    """The recipes or the configs that come with mos-tune."""

    kind: str
    """``"recipe"`` or ``"config"``, for messages."""

    folder: Path
    """Where they are."""

    suffix: str
    """What a name may lack."""

    def names(self) -> dict[str, Path]:
        """Give the files by name; those of sub-folders are called as ``eval/llama3_8B``."""
        return {
            file.relative_to(self.folder).as_posix().removesuffix(self.suffix): file
            for file in sorted(self.folder.rglob(f"*{self.suffix}"))
            if file.name != "__init__.py"
        }

    def find(self, name: str) -> Path:
        """Find a file in the current folder or anywhere, or else one of mos-tune's.

        Args:
            name (str): a path or a name, with or without the suffix.

        Returns:
            Path: the file; a path as it was given.

        Raises:
            UserError: if there is none.
        """
        for path in (Path(name), Path(f"{name}{self.suffix}")):
            if path.is_file():
                return path
        return shipped(name, self)


def shipped(name: str, *among: Shipped) -> Path:
    """Find one of mos-tune's recipes or configs by its name.

    Args:
        name (str): with or without the suffix.
        *among (Shipped): where to look.

    Returns:
        Path: the file.

    Raises:
        UserError: if there is none.
    """
    known = {bare: (file, one.suffix) for one in among for bare, file in one.names().items()}
    for bare, (file, suffix) in known.items():
        if name in (bare, f"{bare}{suffix}"):
            return file
    # What was given may be the path in a clone.
    near = get_close_matches(name, known) or get_close_matches(Path(name).name, known)
    nearest = f"; the nearest of mos-tune's: {', '.join(near)}" if near else ""
    kinds = " or ".join(one.kind for one in among)
    raise UserError(f"there is no {kinds} {name}{nearest}; `mos-tune ls` lists all")


RECIPES = Shipped("recipe", (CLONE or _PACKAGE) / "recipes", ".py")
CONFIGS = Shipped("config", (CLONE or _PACKAGE) / "configs", ".yaml")
