# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The sections of a config that are mos-tune's own, each read and checked once.

torchtune's keys and components stay as they are; what reads one of ours reads these.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mos_tune.errors import UserError, check_whole, is_number

# A dot, "=" or bracket has a meaning in overrides, "/" in the names of metrics.
_NAME = re.compile(r"[^\s./=\[\]{}$]+( +[^\s./=\[\]{}$]+)*")


@dataclass(frozen=True, kw_only=True)
class DatasetSection:
    """``dataset.<name>``: a builder, and what the mixture does with its examples.

    Attributes:
        builder (DictConfig): ``_component_`` and its options, as the builder gets them.
        max_epochs (int | None): passes after which the dataset is exhausted. Default None: no end.
        packed (bool): put several examples into one training sequence. Default False.
        selection (str | None): a file that names the examples to train on. Default None: all.
    """

    builder: DictConfig
    max_epochs: int | None = None
    packed: bool = False
    selection: str | None = None


@dataclass(frozen=True, kw_only=True)
class ValidationSection:
    """``validation``: held-out losses of every dataset.

    Attributes:
        every_n_steps (int): optimizer steps between two measurements.
        max_examples (int): of each dataset, the same ones every time.
        fraction (float | None): share of every dataset that is held out of training. Default None.
        dataset (Mapping[str, DictConfig] | None): builders of held-out sets of their own, in place
            of ``fraction``: by name one of every training dataset, and of others that are only
            measured. Default None.
    """

    every_n_steps: int
    max_examples: int
    fraction: float | None = None
    dataset: Mapping[str, DictConfig] | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointSection:
    """``checkpoint``: everything saved between two optimizer steps.

    Attributes:
        every_n_steps (int): optimizer steps between two checkpoints.
        keep_last (int): complete checkpoints to keep; older ones are deleted.
    """

    every_n_steps: int
    keep_last: int


@dataclass(frozen=True, kw_only=True)
class Sections:
    """All of a config's sections that are mos-tune's own but the components.

    Attributes:
        datasets (Mapping[str, DatasetSection]): ``dataset``, by name and in order.
        validation (ValidationSection | None): None where there are no held-out losses.
        checkpoint (CheckpointSection | None): None where there are torchtune's exports only.
        objective (Mapping[str, float]): ``objective``, weights of held-out sets by name; those it
            does not name count nothing. Default: none, and all count the same.
        log_examples (bool): write the ids of every step's examples. Default False.
        timeout_seconds (int): how long ranks wait for each other. Default 600: NCCL's own; gloo's
            would be half an hour.
    """

    datasets: Mapping[str, DatasetSection]
    validation: ValidationSection | None
    checkpoint: CheckpointSection | None
    objective: Mapping[str, float] = field(default_factory=dict)
    log_examples: bool = False
    timeout_seconds: int = 600


def read_sections(cfg: Mapping[str, Any]) -> Sections:
    """Read and check mos-tune's own sections.

    Args:
        cfg (Mapping[str, Any]): the run's config.

    Raises:
        UserError: naming the first key found wrong, and its value.
    """
    datasets = read_datasets(cfg.get("dataset"))
    log_examples = cfg.get("log_examples", False)
    if not isinstance(log_examples, bool):
        raise UserError(f"log_examples must be True or False, got {log_examples!r}")
    timeout = cfg.get("timeout_seconds", Sections.timeout_seconds)
    check_whole("timeout_seconds", timeout)
    validation = _validation(cfg.get("validation"), list(datasets))
    return Sections(
        datasets=datasets,
        validation=validation,
        checkpoint=_checkpoint(cfg.get("checkpoint")),
        objective=_objective(cfg.get("objective"), validation, list(datasets)),
        log_examples=log_examples,
        timeout_seconds=timeout,
    )


def read_datasets(section: Any) -> dict[str, DatasetSection]:
    """Read and check the config's ``dataset``: names, builders, and the mixture's options.

    Raises:
        UserError: naming the first key found wrong, and its value.
    """
    if not OmegaConf.is_dict(section) or "_component_" in section:
        raise UserError(
            "dataset must map a name to a builder for each dataset, as in "
            "dataset: {mathematics: {_component_: ...}, medicine: {_component_: ...}}"
        )
    return {name: _dataset(name, one) for name, one in section.items()}


def _dataset(name: Any, section: Any) -> DatasetSection:
    _check_name("dataset", name)
    key = f"dataset.{name}"
    if not OmegaConf.is_dict(section) or section.get("_component_") is None:
        raise UserError(f"{key} needs a builder as _component_, got {section}")
    # They are the mixture's, so the builder does not get to see them.
    builder = section.copy()
    max_epochs = builder.pop("max_epochs", None)
    packed = builder.pop("packed", False)
    selection = builder.pop("selection", None)
    if max_epochs is not None:
        check_whole(f"{key}.max_epochs", max_epochs)
    if not isinstance(packed, bool):
        raise UserError(f"{key}.packed must be True or False, got {packed!r}")
    if selection is not None:
        _check_file(f"{key}.selection", selection)
    return DatasetSection(
        builder=builder, max_epochs=max_epochs, packed=packed, selection=selection
    )


def _check_name(section: str, name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.isprintable():
        raise UserError(
            f"{section}.{name!r} must have another name: text without blanks at its ends, line "
            "breaks or any of . / = [ ] { } $, since metrics and command line are made of it"
        )
    if name == "mean":
        raise UserError(f"{section}.mean must have another name: val_loss/mean is the mean of all")


def _check_file(key: str, file: Any) -> None:
    if not isinstance(file, str):
        raise UserError(f"{key} must be the path of a file of selected examples, got {file!r}")
    if not Path(file).is_file():
        raise UserError(f"{key} {file} does not exist, or is no file")


def _validation(section: Any, names: list[str]) -> ValidationSection | None:
    if section is None:
        return None
    _check_keys("validation", section, ValidationSection)
    for key in ("every_n_steps", "max_examples"):
        check_whole(f"validation.{key}", section.get(key))
    fraction, datasets = section.get("fraction"), section.get("dataset")
    if (fraction is None) == (datasets is None):
        raise UserError(
            "validation needs either fraction or dataset, got "
            f"fraction {fraction} and dataset {datasets}"
        )
    if fraction is not None and not (is_number(fraction) and 0 < fraction < 1):
        raise UserError(f"validation.fraction must lie between 0 and 1, got {fraction!r}")
    if datasets is not None and not set(names) <= set(datasets):
        raise UserError(
            f"validation.dataset names {list(datasets)}, it must name the training datasets {names}"
        )
    for name, one in (datasets or {}).items():
        _check_name("validation.dataset", name)
        if OmegaConf.is_dict(one) and one.get("packed", False):
            raise UserError(
                f"validation.dataset.{name}.packed is True; held-out losses are of whole examples: "
                "False"
            )
    return ValidationSection(**section)


def _objective(
    section: Any, validation: ValidationSection | None, names: list[str]
) -> dict[str, float]:
    if section is None:
        return {}
    if not OmegaConf.is_dict(section) or not section:
        raise UserError(f"objective must map names of held-out sets to weights, got {section}")
    if validation is None:
        raise UserError(
            f"objective is {dict(section)}, which weighs held-out losses, but validation is null"
        )
    held_out = names if validation.dataset is None else list(validation.dataset)
    for name, weight in section.items():
        if name not in held_out:
            raise UserError(
                f"objective.{name} is no held-out set; there are {', '.join(held_out)}, and "
                "validation.dataset may name more"
            )
        if not is_number(weight) or weight <= 0:
            raise UserError(f"objective.{name} must be a number above 0, got {weight!r}")
    return {name: float(weight) for name, weight in section.items()}


def _checkpoint(section: Any) -> CheckpointSection | None:
    if section is None:
        return None
    _check_keys("checkpoint", section, CheckpointSection)
    for key in ("every_n_steps", "keep_last"):
        check_whole(f"checkpoint.{key}", section.get(key))
    return CheckpointSection(**section)


def _check_keys(name: str, section: Any, kind: type[Any]) -> None:
    known = [field.name for field in fields(kind)]
    if not OmegaConf.is_dict(section):
        raise UserError(f"{name} must be a section or null, got {section}")
    for key in section:
        if key not in known:
            raise UserError(f"{name}.{key} is no option; there are {', '.join(known)}")
