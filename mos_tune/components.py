# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Components built from the config, with errors that name the config key."""

import inspect
from collections.abc import Collection
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torchtune import config
from torchtune.config._errors import InstantiationError
from torchtune.config._utils import _get_component_from_path

from mos_tune.errors import UserError


def is_off(section: DictConfig | None) -> bool:
    """Tell whether a section is switched off, by ``key: null`` or ``key=null`` on the command line.

    torchtune merges the latter into ``key._component_``.
    """
    return section is None or (
        OmegaConf.is_dict(section) and section.get("_component_", "") is None
    )


def check_options(key: str, section: Any, num_positional: int, given: Collection[str]) -> None:
    """Check that a component exists and knows the options that the config gives it.

    Args:
        key (str): the section's place in the config, for messages.
        section (Any): has ``_component_`` and scalar options.
        num_positional (int): how many arguments the recipe passes before the options.
        given (Collection[str]): names of the arguments that the recipe passes beside the options.

    Raises:
        UserError: if it does not.
    """
    if not OmegaConf.is_dict(section) or "_component_" not in section:
        raise UserError(f"{key} must name a builder as {key}._component_, got {section}")
    path: str = section["_component_"]
    try:
        component = _get_component_from_path(path)
    except (InstantiationError, ValueError) as error:
        reason = str(error).replace("\n", " ")
        raise UserError(f"{key}._component_ '{path}' does not exist: {reason}") from error
    parameters = list(inspect.signature(component).parameters.values())[num_positional:]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        known = [parameter.name for parameter in parameters if parameter.name not in given]
        for option in map(str, section):
            if option != "_component_" and option not in known:
                options = ", ".join(known) or "none"
                raise UserError(f"{key}.{option} is no option of {path}, which takes {options}")


def build(key: str, section: Any, *args: Any, **kwargs: Any) -> Any:
    """Instantiate a component.

    Args:
        key (str): the section's place in the config, for messages.
        section (Any): has ``_component_`` and scalar options.
        *args (Any): passed on before the options.
        **kwargs (Any): passed on beside the options.

    Returns:
        Any: what the component returns.

    Raises:
        UserError: if the component does not exist, does not know an option, or fails.
    """
    check_options(key, section, len(args), kwargs)
    try:
        return config.instantiate(section, *args, **kwargs)
    except UserError as error:
        if key in str(error):
            raise
        raise UserError(f"{key}: {error}") from error
    except Exception as error:  # anyone's component may raise anything
        path = section["_component_"]
        raise UserError(f"{key} ({path}): {_with_causes(error)}") from error


def build_without_weights(cfg: DictConfig) -> nn.Module:
    """Build the model as a shape alone.

    Args:
        cfg (DictConfig): the run's config, checked.

    Returns:
        nn.Module: on the meta device.

    Raises:
        UserError: if it does not take its options.
    """
    with torch.device("meta"):
        model: nn.Module = build("model", cfg.model)
    return model


def try_components(cfg: DictConfig, total_steps: int) -> None:
    """Build once what the stock recipe builds after it has loaded the model.

    Args:
        cfg (DictConfig): the run's config, checked.
        total_steps (int): optimizer steps of the whole run.

    Raises:
        UserError: if a component does not take its options.
    """
    # Not on meta, where fused optimizers refuse to be made.
    optimizer = build("optimizer", cfg.optimizer, [nn.Parameter(torch.zeros(2, 2))])
    if not is_off(cfg.get("lr_scheduler")):
        build(
            "lr_scheduler",
            cfg.lr_scheduler,
            optimizer,
            num_training_steps=total_steps,
            last_epoch=-1,
        )
    build("loss", cfg.loss)


def _with_causes(error: BaseException) -> str:
    said = f"{type(error).__name__}: {error}"
    # ``datasets`` says what was wrong only in the cause of its error.
    if error.__cause__ is not None and str(error.__cause__) not in said:
        return f"{said}: {_with_causes(error.__cause__)}"
    return said
