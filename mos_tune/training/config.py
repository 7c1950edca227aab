# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checks of the whole config, before anything is loaded."""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torchtune.config._errors import InstantiationError
from torchtune.config._utils import _get_component_from_path

from mos_tune.components import check_options, is_off
from mos_tune.distributed import get_world_size_and_rank
from mos_tune.errors import UserError, check_whole, is_number
from mos_tune.rewards import Reward
from mos_tune.training.dataset_sections import check_datasets, check_on_bad_row

_REQUIRED = (
    "output_dir tokenizer dataset sampler model checkpointer optimizer loss metric_logger device "
    "dtype seed epochs batch_size gradient_accumulation_steps"
).split()

_CHECKPOINT_KEYS = ["every_n_steps", "keep_last"]
_VALIDATION_KEYS = ["every_n_steps", "fraction", "dataset", "max_examples", "keep_twins"]


def check_config(cfg: DictConfig) -> None:
    """Check what can be checked by reading the config alone.

    Args:
        cfg (DictConfig): the run's config.

    Raises:
        UserError: naming the first key found wrong, and its value.
    """
    missing = [key for key in _REQUIRED if key not in cfg]
    if missing:
        raise UserError(f"the config lacks {', '.join(missing)}")
    _check_scalars(cfg)
    paths = {
        f"{key}._component_": path
        for key, path in _components(OmegaConf.to_container(cfg, resolve=True))
    }
    if cfg.get("collate_fn") is not None:
        paths["collate_fn"] = cfg.collate_fn
    for key, path in paths.items():
        try:
            _get_component_from_path(str(path))
        except (InstantiationError, ValueError) as error:
            reason = str(error).splitlines()[-1]
            raise UserError(f"{key} {path!r} does not exist. {reason}") from error
    check_options("optimizer", cfg.optimizer, 1, ())
    if not is_number(cfg.optimizer.get("lr", 0)) or cfg.optimizer.get("lr", 0) < 0:
        raise UserError(f"optimizer.lr must be a finite number, got {cfg.optimizer.lr!r}")
    check_options("loss", cfg.loss, 0, ())
    check_options("metric_logger", cfg.metric_logger, 0, ())
    if not is_off(cfg.get("lr_scheduler")):
        check_options("lr_scheduler", cfg.lr_scheduler, 1, ("num_training_steps", "last_epoch"))
    check_datasets(cfg.dataset)
    _check_validation(cfg.get("validation"), list(cfg.dataset))
    if not is_off(cfg.get("scorer")) and is_off(cfg.get("reward")):
        raise UserError("reward is null but scorer is not; a scorer learns from a reward")
    if cfg.get("tensor_parallel_dim", 1) > 1:
        raise UserError(
            f"tensor_parallel_dim is {cfg.tensor_parallel_dim}; a mixture is trained with 1, "
            "data-parallel"
        )
    if cfg.get("fsdp_cpu_offload", False) and get_world_size_and_rank()[0] == 1:
        raise UserError("fsdp_cpu_offload is True, which needs more than 1 process; use False")
    if cfg.get("enable_async_checkpointing", False):
        raise UserError("enable_async_checkpointing is True; a mixture is saved with False only")
    _check_checkpoint(cfg.get("checkpoint"))
    if cfg.get("checkpoint") is not None and cfg.seed is None:
        raise UserError("seed is null; with checkpoint it must be a number, to be drawn only once")
    packed = [name for name, section in cfg.dataset.items() if section.get("packed", False)]
    if packed and cfg.get("collate_fn") is not None:
        raise UserError(
            f"dataset.{packed[0]}.packed is True, and packs have a collate function of their own, "
            f"but collate_fn is {cfg.collate_fn}; leave one of them out"
        )
    if "left_pad_sequence" in str(cfg.get("collate_fn", "")):
        raise UserError(f"collate_fn {cfg.collate_fn} pads on the left; training pads on the right")


def check_reward(cfg: DictConfig, reward: Any) -> None:
    """Check that it is a reward, and that the config gives it what it needs.

    Args:
        cfg (DictConfig): the run's config.
        reward (Any): built from it.

    Raises:
        UserError: if it is something else, needs held-out examples and there are none, or backward
            passes of its own would train the model.
    """
    name = cfg.reward["_component_"]
    if not isinstance(reward, Reward):
        raise UserError(f"reward._component_ {name} is no subclass of mos_tune.rewards.Reward")
    if reward.needs_held_out and cfg.get("validation") is None:
        raise UserError(
            f"validation is null, but reward {name} measures on held-out examples; give "
            "validation.fraction or validation.dataset"
        )
    if reward.needs_gradients and cfg.get("optimizer_in_bwd", False):
        raise UserError(
            f"optimizer_in_bwd is True, but reward {name} computes gradients of its own and each "
            "would become an optimizer step; use False"
        )


def _components(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        if node.get("_component_") is not None:
            yield key, node["_component_"]
        for name, child in node.items():
            yield from _components(child, f"{key}.{name}" if key else str(name))


def _check_scalars(cfg: DictConfig) -> None:
    for key in ("epochs", "batch_size", "gradient_accumulation_steps"):
        check_whole(key, cfg[key])
    if cfg.get("max_steps_per_epoch") is not None:
        check_whole("max_steps_per_epoch", cfg.max_steps_per_epoch)
    for key in ("log_every_n_steps", "timeout_seconds"):
        if key in cfg:
            check_whole(key, cfg[key])
    if cfg.seed is not None:
        check_whole("seed", cfg.seed, 0)
    for key in ("shuffle", "log_examples", "resume_from_checkpoint"):
        if not isinstance(cfg.get(key, False), bool):
            raise UserError(f"{key} must be True or False, got {cfg[key]!r}")
    if not isinstance(cfg.output_dir, str) or not cfg.output_dir.strip():
        raise UserError(f"output_dir must be the path of a folder, got {cfg.output_dir!r}")


def _check_keys(name: str, section: Any, known: list[str]) -> None:
    if not OmegaConf.is_dict(section):
        raise UserError(f"{name} must be a section or null, got {section}")
    for key in section:
        if key not in known:
            raise UserError(f"{name}.{key} is no option; there are {', '.join(known)}")


def _check_checkpoint(section: Any) -> None:
    if section is None:
        return
    _check_keys("checkpoint", section, _CHECKPOINT_KEYS)
    for key in _CHECKPOINT_KEYS:
        check_whole(f"checkpoint.{key}", section.get(key))


def _check_validation(section: Any, names: list[str]) -> None:
    if section is None:
        return
    _check_keys("validation", section, _VALIDATION_KEYS)
    for key in ("every_n_steps", "max_examples"):
        check_whole(f"validation.{key}", section.get(key))
    if not isinstance(section.get("keep_twins", False), bool):
        raise UserError(f"validation.keep_twins must be True or False, got {section.keep_twins!r}")
    fraction, datasets = section.get("fraction"), section.get("dataset")
    if (fraction is None) == (datasets is None):
        raise UserError(
            "validation needs either fraction or dataset, got "
            f"fraction {fraction} and dataset {datasets}"
        )
    if datasets is not None and set(datasets) != set(names):
        raise UserError(
            f"validation.dataset names {list(datasets)}, it must name the training datasets {names}"
        )
    for name, one in (datasets or {}).items():
        check_on_bad_row(f"validation.dataset.{name}", one)
        if OmegaConf.is_dict(one) and one.get("packed", False):
            raise UserError(
                f"validation.dataset.{name}.packed is True; held-out losses are of whole examples: "
                "False"
            )
