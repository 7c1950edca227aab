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

_LONGEST = 200

_QUOTE = 'quote it, as in "no": {_component_: ...}'


@dataclass(frozen=True, kw_only=True)
class DatasetSection:
    """``dataset.<name>``: a builder, and what the mixture does with its examples.

    Attributes:
        builder (DictConfig): ``_component_`` and its options, as the builder gets them.
        max_epochs (int | None): passes after which the dataset is exhausted. Default None: no end.
        packed (bool): put several examples into one training sequence. Default False.
        selection (str | None): a file that names the examples to train on. Default None: all.
        on_bad_row (str): ``"stop"``, the default, or ``"skip"``: a row that cannot be read is left
            out and counted.
    """

    builder: DictConfig
    max_epochs: int | None = None
    packed: bool = False
    selection: str | None = None
    on_bad_row: str = "stop"


@dataclass(frozen=True, kw_only=True)
class ValidationSection:
    """``validation``: held-out losses of every dataset.

    Attributes:
        every_n_steps (int): optimizer steps between two measurements.
        max_examples (int): of each dataset, the same ones every time.
        fraction (float | None): share of every dataset that is held out of training. Default None.
        dataset (Mapping[str, DatasetSection] | None): held-out sets of their own, in place of
            ``fraction``: by name one of every training dataset, and of others that are only
            measured. Default None.
        keep_twins (bool): train on a row also when the same row is held out, of its own dataset or
            another. Default False: held-out losses are of what was not trained on.
    """

    every_n_steps: int
    max_examples: int
    fraction: float | None = None
    dataset: Mapping[str, DatasetSection] | None = None
    keep_twins: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckpointSection:
    """``checkpoint``: everything saved between two optimizer steps.

    Attributes:
        every_n_steps (int): optimizer steps between two checkpoints.
        keep_last (int): complete checkpoints to keep; older ones are deleted. Default 2: one may be
            damaged.
    """

    every_n_steps: int
    keep_last: int = 2


@dataclass(frozen=True, kw_only=True)
class EarlyStopSection:
    """``early_stop``: when a dataset is drawn no more, by its held-out losses.

    Attributes:
        patience (int): held-out losses without a new best. Default 3.
        min_delta (float): nats by which a new best must be lower. Default 0.
    """

    patience: int = 3
    min_delta: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Sections:
    """All of a config's sections that are mos-tune's own but the components.

    Attributes:
        datasets (Mapping[str, DatasetSection]): ``dataset``, by name and in order.
        validation (ValidationSection | None): None where there are no held-out losses.
        checkpoint (CheckpointSection | None): None where there are torchtune's exports only.
        objective (Mapping[str, float]): ``objective``, weights of held-out sets by name; those it
            does not name count nothing. Default: none, and all count the same.
        early_stop (EarlyStopSection | None): Default None: no dataset is stopped.
        log_examples (bool): write the ids of every step's examples. Default False.
        timeout_seconds (int): how long ranks wait for each other. Default 600: NCCL's own; gloo's
            would be half an hour.
        overwrite (bool): remove what an earlier run has left in ``output_dir``. Default False.
    """

    datasets: Mapping[str, DatasetSection]
    validation: ValidationSection | None
    checkpoint: CheckpointSection | None
    objective: Mapping[str, float] = field(default_factory=dict)
    early_stop: EarlyStopSection | None = None
    log_examples: bool = False
    timeout_seconds: int = 600
    overwrite: bool = False


def read_sections(cfg: Mapping[str, Any]) -> Sections:
    """Read and check mos-tune's own sections.

    Args:
        cfg (Mapping[str, Any]): the run's config.

    Raises:
        UserError: naming the first key found wrong, and its value.
    """
    datasets = read_datasets(cfg.get("dataset"))
    for key in ("log_examples", "overwrite"):
        if not isinstance(cfg.get(key, False), bool):
            raise UserError(f"{key} must be True or False, got {cfg.get(key)!r}")
    overwrite = cfg.get("overwrite", False)
    if overwrite and cfg.get("resume_from_checkpoint", False):
        raise UserError(
            "overwrite and resume_from_checkpoint are both True, but overwrite removes what would "
            "be resumed; leave one of them out"
        )
    timeout = cfg.get("timeout_seconds", Sections.timeout_seconds)
    check_whole("timeout_seconds", timeout)
    validation = _validation(cfg.get("validation"), list(datasets))
    return Sections(
        datasets=datasets,
        validation=validation,
        checkpoint=_checkpoint(cfg.get("checkpoint")),
        objective=_objective(cfg.get("objective"), validation, list(datasets)),
        log_examples=cfg.get("log_examples", False),
        early_stop=_early_stop(cfg.get("early_stop"), cfg.get("validation")),
        timeout_seconds=timeout,
        overwrite=overwrite,
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
    if not section:
        raise UserError("dataset names no dataset; give at least one name and its builder")
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
        builder=builder,
        max_epochs=max_epochs,
        packed=packed,
        selection=selection,
        on_bad_row=_on_bad_row(key, builder),
    )


def _on_bad_row(key: str, builder: DictConfig) -> str:
    value = builder.pop("on_bad_row", "stop")
    if value not in ("stop", "skip"):
        raise UserError(f"{key}.on_bad_row must be 'stop' or 'skip', got {value!r}")
    return str(value)


def _check_name(section: str, name: Any) -> None:
    if not isinstance(name, str):
        raise UserError(
            f"{section}.{name!r} must have another name: YAML reads a bare no, off, on, yes, true, "
            f"null or number as a value; {_QUOTE}"
        )
    if len(name.encode("utf-8", errors="replace")) > _LONGEST:
        raise UserError(
            f"{section}.{name!r} must have another name: some loggers and a selection make a file "
            f"of it, so it has at most {_LONGEST} bytes"
        )
    if not _NAME.fullmatch(name) or not name.isprintable():
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
        hint = "" if all(isinstance(name, str) for name in datasets) else f"; {_QUOTE}"
        raise UserError(
            f"validation.dataset names {list(datasets)}, it must name the training datasets {names}"
            f"{hint}"
        )
    keep_twins = section.get("keep_twins", False)
    if not isinstance(keep_twins, bool):
        raise UserError(f"validation.keep_twins must be True or False, got {keep_twins!r}")
    return ValidationSection(
        every_n_steps=section.every_n_steps,
        max_examples=section.max_examples,
        fraction=fraction,
        dataset=datasets and {name: _held_out_set(name, one) for name, one in datasets.items()},
        keep_twins=keep_twins,
    )


def _held_out_set(name: str, section: Any) -> DatasetSection:
    _check_name("validation.dataset", name)
    key = f"validation.dataset.{name}"
    if not OmegaConf.is_dict(section) or section.get("_component_") is None:
        raise UserError(f"{key} needs a builder as _component_, got {section}")
    builder = section.copy()
    if builder.pop("packed", False):
        raise UserError(f"{key}.packed is True; held-out losses are of whole examples: False")
    return DatasetSection(builder=builder, on_bad_row=_on_bad_row(key, builder))


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


def _early_stop(section: Any, validation: Any) -> EarlyStopSection | None:
    if section is None:
        return None
    _check_keys("early_stop", section, EarlyStopSection)
    if validation is None:
        raise UserError(
            f"early_stop is {section}, but validation is null; it needs held-out losses"
        )
    return EarlyStopSection(**section)


def _checkpoint(section: Any) -> CheckpointSection | None:
    if section is None:
        return None
    _check_keys("checkpoint", section, CheckpointSection)
    check_whole("checkpoint.every_n_steps", section.get("every_n_steps"))
    check_whole("checkpoint.keep_last", section.get("keep_last", CheckpointSection.keep_last))
    return CheckpointSection(**section)


def _check_keys(name: str, section: Any, kind: type[Any]) -> None:
    known = [field.name for field in fields(kind)]
    if not OmegaConf.is_dict(section):
        raise UserError(f"{name} must be a section or null, got {section}")
    for key in section:
        if key not in known:
            raise UserError(f"{name}.{key} is no option; there are {', '.join(known)}")
