# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The stock loop's progress bar, with the mixture beside the loss."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from tqdm import tqdm


def show_mixture(
    stock: ModuleType, mixture: Callable[[], str], steps: Callable[[], tuple[int, int]]
) -> None:
    """Make the bar of a stock recipe's module end in ``mixture()`` and go on after a resume.

    The bar is a local variable of the stock loop; the name it is made from is the only handle.

    Args:
        stock (ModuleType): our private copy of the recipe's module.
        mixture (Callable[[], str]): gives a short text.
        steps (Callable[[], tuple[int, int]]): of the epoch whose bar is being made, the steps done
            and all that it has.
    """

    class MixtureBar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            initial, total = steps()
            super().__init__(*args, **kwargs | {"initial": initial, "total": total})

        def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
            super().set_description(f"{desc}|{mixture()}", refresh)

    bar: Any = MixtureBar
    vars(stock)["tqdm"] = bar
