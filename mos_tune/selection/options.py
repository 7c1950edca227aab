# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The config's section ``selection``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mos_tune.datasets.sampled import check_fraction
from mos_tune.errors import UserError, check_whole

METHODS = ("ifd", "random")
_SCORING = ("model", "tokenizer", "checkpointer")


@dataclass(frozen=True)
class Options:
    """What to select, and with which model.

    Attributes:
        method (str): ``ifd``, the default, selects the examples with the highest scores; ``random``
            any, and needs no model.
        fraction (float): share of each dataset to select. Default 0.1, the paper's.
        seed (int): of ``random``. Default 0, and not the run's seed, so that runs with several
            seeds train on the same examples.
        batch_size (int): examples per forward pass. Default: the config's.
        output_dir (Path): where scores and selections go. Default: ``selection`` in the config's
            ``output_dir``.
        scoring (DictConfig): ``model``, ``tokenizer`` and ``checkpointer`` of the model that
            scores: those of the config that ``model_config`` names, by default this one.
    """

    method: str
    fraction: float
    seed: int
    batch_size: int
    output_dir: Path
    scoring: DictConfig


def read_options(cfg: DictConfig) -> Options:
    """Read and check the section, which may be missing.

    Args:
        cfg (DictConfig): a training config, checked.

    Raises:
        UserError: naming the first key found wrong, and its value.
    """
    defaults: dict[str, Any] = {
        "method": METHODS[0],
        "fraction": 0.1,
        "seed": 0,
        "batch_size": cfg.batch_size,
        "output_dir": f"{cfg.output_dir}/selection",
        "model_config": None,
    }
    section: Any = cfg.get("selection") or OmegaConf.create({})
    if not OmegaConf.is_dict(section):
        raise UserError(f"selection must be a section, got {section!r}")
    for key in map(str, section):
        if key not in defaults:
            raise UserError(f"selection.{key} is no option; there are {', '.join(defaults)}")
    found = defaults | dict(section)
    if found["method"] not in METHODS:
        raise UserError(f"selection.method must be {' or '.join(METHODS)}, got {found['method']!r}")
    try:
        check_fraction(found["fraction"])
    except UserError as error:
        raise UserError(f"selection.{error}") from error
    check_whole("selection.seed", found["seed"], 0)
    check_whole("selection.batch_size", found["batch_size"])
    return Options(
        method=found["method"],
        fraction=found["fraction"],
        seed=found["seed"],
        batch_size=found["batch_size"],
        output_dir=Path(str(found["output_dir"])),
        scoring=_scoring(cfg, found["model_config"]),
    )


def _scoring(cfg: DictConfig, model_config: str | None) -> DictConfig:
    source: Any = cfg
    if model_config is not None:
        try:
            source = OmegaConf.load(str(model_config))
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            text = " ".join(str(error).split())
            raise UserError(
                f"selection.model_config {model_config} cannot be read: {text}"
            ) from error
        missing = [key for key in _SCORING if key not in source]
        if missing:
            raise UserError(f"selection.model_config {model_config} lacks {', '.join(missing)}")
    whole: Any = OmegaConf.to_container(source, resolve=True)
    scoring: Any = OmegaConf.create({key: whole[key] for key in _SCORING})
    return scoring
