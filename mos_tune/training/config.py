# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checks of the whole config, before anything is loaded."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torchtune.config._errors import InstantiationError
from torchtune.config._utils import _get_component_from_path

from mos_tune.components import check_options, is_off
from mos_tune.config_keys import check_keys
from mos_tune.distributed import get_world_size_and_rank
from mos_tune.errors import UserError, check_whole, is_number
from mos_tune.rewards import Reward
from mos_tune.sections import Sections, read_sections
from mos_tune.training.loggers import check_names, check_package

_REQUIRED = (
    "output_dir tokenizer dataset sampler model checkpointer optimizer loss metric_logger device "
    "dtype seed epochs batch_size gradient_accumulation_steps"
).split()

STOCK_KEYS = (
    "ac_mode ac_option batch_size checkpointer clip_grad_norm collate_fn compile "
    "cudnn_deterministic_mode custom_sharded_layers dataset device dtype "
    "enable_activation_checkpointing enable_activation_offloading enable_async_checkpointing "
    "epochs fsdp_cpu_offload fsdp_reshard_after_forward gradient_accumulation_steps "
    "log_every_n_steps log_peak_memory_stats loss low_cpu_ram lr_scheduler max_steps_per_epoch "
    "metric_logger model optimizer optimizer_in_bwd output_dir profiler resume_from_checkpoint "
    "save_adapter_weights_only seed shuffle tensor_parallel_dim tensor_parallel_plan tokenizer"
).split()
"""What torchtune's four finetuning recipes read."""

_OWN_KEYS = (
    "checkpoint early_stop log_examples objective overwrite reward sampler scorer selection sweep "
    "timeout_seconds validation"
).split()


def check_config(cfg: DictConfig, further_keys: Collection[str] = ()) -> Sections:
    """Check what can be checked by reading the config alone, and read our own sections.

    Args:
        cfg (DictConfig): the run's config.
        further_keys (Collection[str]): what a recipe reads beside torchtune's and our own. Default:
            none.

    Raises:
        UserError: naming the first key found wrong, and its value.
    """
    check_keys(cfg, {*STOCK_KEYS, *_OWN_KEYS, *further_keys})
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
    check_package(cfg.metric_logger["_component_"])
    if not is_off(cfg.get("lr_scheduler")):
        check_options("lr_scheduler", cfg.lr_scheduler, 1, ("num_training_steps", "last_epoch"))
    sections = read_sections(cfg)
    check_names(cfg.metric_logger["_component_"], list(sections.datasets))
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
    if sections.checkpoint is not None and cfg.seed is None:
        raise UserError("seed is null; with checkpoint it must be a number, to be drawn only once")
    packed = [name for name, section in sections.datasets.items() if section.packed]
    if packed and cfg.get("collate_fn") is not None:
        raise UserError(
            f"dataset.{packed[0]}.packed is True, and packs have a collate function of their own, "
            f"but collate_fn is {cfg.collate_fn}; leave one of them out"
        )
    if "left_pad_sequence" in str(cfg.get("collate_fn", "")):
        raise UserError(f"collate_fn {cfg.collate_fn} pads on the left; training pads on the right")
    return sections


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
    if "log_every_n_steps" in cfg:
        check_whole("log_every_n_steps", cfg.log_every_n_steps)
    if cfg.seed is not None:
        check_whole("seed", cfg.seed, 0)
    for key in ("shuffle", "resume_from_checkpoint"):
        if not isinstance(cfg.get(key, False), bool):
            raise UserError(f"{key} must be True or False, got {cfg[key]!r}")
    if not isinstance(cfg.output_dir, str) or not cfg.output_dir.strip():
        raise UserError(f"output_dir must be the path of a folder, got {cfg.output_dir!r}")
