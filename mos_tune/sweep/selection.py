# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Rows that train on selected examples."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mos_tune.errors import UserError
from mos_tune.sweep.settings import first_difference

_WRAPPERS = ("_component_", "selection", "dataset", "held_out")


def take_selection(config: DictConfig, file: Path) -> None:
    """Replaces the datasets of a row's config by selections of them.

    What is held out stays what it is without the selection, so the row's held-out losses are of the
    same examples as those of the other rows with its seed.

    Args:
        config: The row's config, of which ``dataset`` and ``validation.dataset`` are replaced.
        file: A config that ``recipes/select_examples.py`` has written.

    Raises:
        UserError: If there is no such file, or its selections are of other datasets.
    """
    datasets = _datasets(file)
    names, selected = list(config.dataset), list(datasets)
    if set(names) != set(selected):
        raise UserError(
            f"{file} has the datasets {', '.join(selected)}, and this sweep has {', '.join(names)}"
        )
    validation = config.get("validation") or OmegaConf.create({})
    fraction = validation.get("fraction")
    for name in names:
        section = datasets[name]
        whole: Any = section.get("dataset")
        if not isinstance(whole, dict):
            raise UserError(
                f"dataset.{name} of {file} is no selection; recipes/select_examples.py writes them"
            )
        mixture = {key: value for key, value in section.items() if key not in _WRAPPERS}
        held_out = section.get("held_out") or {}
        there = {
            f"dataset.{name}": whole | mixture,
            "validation.fraction": held_out.get("fraction"),
        }
        here = {f"dataset.{name}": config.dataset[name], "validation.fraction": fraction}
        different = first_difference(there, here)
        if different is not None:
            key, of_file, of_sweep = different
            raise UserError(
                f"{file} is a selection with {key} {of_file}, and this sweep has {of_sweep}; "
                "select again with the settings of the sweep"
            )
    config.dataset = {name: datasets[name] for name in names}
    if fraction is not None:
        del validation["fraction"]
        validation.dataset = {
            name: {
                "_component_": "mos_tune.datasets.held_out_dataset",
                "dataset": datasets[name]["dataset"],
                "held_out": datasets[name]["held_out"],
            }
            for name in names
        }


def _datasets(file: Path) -> dict[str, Any]:
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(file))
    except OSError as error:
        raise UserError(
            f"cannot read {file}: {error.strerror or error}; recipes/select_examples.py writes it"
        ) from error
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{file} is no config: {' '.join(str(error).split())}") from error
    datasets = content.get("dataset") if isinstance(content, dict) else None
    if not isinstance(datasets, dict) or not all(isinstance(d, dict) for d in datasets.values()):
        raise UserError(f"{file} has no dataset section with a section for each dataset")
    return datasets
