# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checks of the config's section of datasets."""

import re
from typing import Any

from omegaconf import OmegaConf

from mos_tune.data.selection_file import check_selection
from mos_tune.errors import UserError, check_whole

# A dot, "=" or bracket has a meaning in overrides, "/" in the names of metrics.
_NAME = re.compile(r"[^\s./=\[\]{}$]+( +[^\s./=\[\]{}$]+)*")


def check_datasets(datasets: Any) -> None:
    """Check the names of the datasets, and the mixture's options of each.

    Args:
        datasets (Any): the config's ``dataset``.

    Raises:
        UserError: naming the first key found wrong, and its value.
    """
    if not OmegaConf.is_dict(datasets) or "_component_" in datasets:
        raise UserError(
            "dataset must map a name to a builder for each dataset, as in "
            "dataset: {mathematics: {_component_: ...}, medicine: {_component_: ...}}"
        )
    for name, section in datasets.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isprintable():
            raise UserError(
                f"dataset.{name!r} must have another name: text without blanks at its ends, line "
                "breaks or any of . / = [ ] { } $, since metrics and command line are made of it"
            )
        if name == "mean":
            raise UserError("dataset.mean must have another name: val_loss/mean is the mean of all")
        if not OmegaConf.is_dict(section) or section.get("_component_") is None:
            raise UserError(f"dataset.{name} needs a builder as _component_, got {section}")
        if section.get("max_epochs") is not None:
            check_whole(f"dataset.{name}.max_epochs", section.max_epochs)
        packed = section.get("packed", False)
        if not isinstance(packed, bool):
            raise UserError(f"dataset.{name}.packed must be True or False, got {packed!r}")
        check_on_bad_row(f"dataset.{name}", section)
        if section.get("selection") is not None:
            check_selection(f"dataset.{name}.selection", section.selection)


def check_on_bad_row(key: str, section: Any) -> None:
    """Check what a dataset does with a row that cannot be read.

    Args:
        key (str): the dataset's place in the config, for the message.
        section (Any): its section.

    Raises:
        UserError: if it is neither of the two.
    """
    value = section.get("on_bad_row", "stop") if OmegaConf.is_dict(section) else "stop"
    if value not in ("stop", "skip"):
        raise UserError(f"{key}.on_bad_row must be 'stop' or 'skip', got {value!r}")
