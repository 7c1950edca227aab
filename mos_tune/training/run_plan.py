# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""All of a run that is known before its model is loaded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torchtune import utils

from mos_tune.base_checkpoint import fingerprint, weight_files
from mos_tune.errors import UserError
from mos_tune.mixture import MixtureSampler
from mos_tune.rewards import Reward
from mos_tune.scorers import Scorer
from mos_tune.training.components import build, is_off, try_components
from mos_tune.training.config import check_reward
from mos_tune.training.data import MixtureData, Sequences, load_data
from mos_tune.training.files import check_files
from mos_tune.training.packing import check_same_packing, pack_sizes, training_sequences
from mos_tune.training.policy import check_scorer
from mos_tune.training.reading import check_same_examples

log = utils.get_logger("INFO")


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Data, mixture and number of steps; the same on every rank.

    Attributes:
        seed (int): the run's seed.
        data (MixtureData): the examples.
        sequences (dict[str, Sequences]): what is made of the training examples to draw.
        sampler (MixtureSampler): draws it; holds the prior.
        scorer (Scorer | None): the policy. None keeps the mixture at the prior.
        reward (Reward | None): what the policy learns from; there with a scorer.
        epochs (int): of the run.
        steps_per_epoch (int): optimizer steps of an epoch; the last one may be shorter.
        total_steps (int): optimizer steps of the whole run.
        model (dict[str, Any]): the config's ``model``; with adapters also a hash of base weights,
            which are in no checkpoint.
        ends_early (str): why there are fewer than the config asks for; empty if there are not.
    """

    seed: int
    data: MixtureData
    sequences: dict[str, Sequences]
    sampler: MixtureSampler
    scorer: Scorer | None
    reward: Reward | None
    epochs: int
    steps_per_epoch: int
    total_steps: int
    model: dict[str, Any]
    ends_early: str

    def state_dict(self) -> dict[str, Any]:
        """Give what must be the same when a run goes on, beside the mixture's own state."""
        return {
            "model": self.model,
            "datasets": self.data.fingerprints,
            "packing": pack_sizes(self.sequences),
        }

    def check_saved(self, saved: Mapping[str, Any]) -> None:
        """Check a saved state against the model and the data that there are now.

        Raises:
            UserError: naming the dataset or option that differs, and both values.
        """
        for key in {**self.model, **saved["model"]}:
            here, there = self.model.get(key), saved["model"].get(key)
            if here != there:
                raise UserError(f"{key} is {here}, the checkpoint has {there}")
        check_same_packing(pack_sizes(self.sequences), saved["packing"])
        self.sampler.load_state_dict(saved["sampler"])
        check_same_examples(self.data.fingerprints, saved["datasets"])


def plan_run(cfg: DictConfig, *, seed: int, epochs: int, resume: bool) -> RunPlan:
    """Build and check all that a run needs but its model.

    Args:
        cfg (DictConfig): the run's config, checked.
        seed (int): the run's seed.
        epochs (int): as the config asks for.
        resume (bool): the run may go on from a checkpoint.

    Raises:
        UserError: for anything wrong with datasets, sampler, scorer, reward or files.
    """
    check_files(cfg)
    tokenizer = build("tokenizer", cfg.tokenizer)
    build("checkpointer", cfg.checkpointer, should_load_recipe_state=resume)
    data = load_data(cfg, tokenizer, seed)
    sequences = training_sequences(data, getattr(tokenizer, "max_seq_len", None))
    sizes = {name: len(one) for name, one in sequences.items()}
    world_size, _ = utils.get_world_size_and_rank()
    global_batch_size = cfg.batch_size * cfg.gradient_accumulation_steps * world_size
    sampler: MixtureSampler = build(
        "sampler",
        cfg.sampler,
        sizes,
        global_batch_size=global_batch_size,
        seed=seed,
        shuffle=cfg.get("shuffle", True),
        max_epochs=data.max_epochs,
    )
    scorer = reward = None
    if not is_off(cfg.get("scorer")):
        scorer = build("scorer", cfg.scorer, sampler.prior, seed=seed)
        check_scorer(cfg.scorer["_component_"], scorer)
        reward = build("reward", cfg.reward, sampler.names)
        check_reward(cfg, reward)
    of_an_epoch = _steps_per_epoch(cfg, sizes, global_batch_size)
    asked_for = epochs * of_an_epoch
    total_steps = asked_for if sampler.max_steps is None else min(asked_for, sampler.max_steps)
    of_an_epoch = min(of_an_epoch, total_steps)
    ends_early = ""
    if total_steps < asked_for:
        ends_early = (
            f"The run ends early, at step {total_steps} of {asked_for}: the datasets are then used "
            "up, for all have max_epochs"
        )
        utils.log_rank_zero(log, ends_early)
    try_components(cfg, total_steps)
    if scorer is not None and scorer.update_every > total_steps:
        _warn(
            f"scorer.update_every is {scorer.update_every}, but the run has only {total_steps} "
            "steps: the mixture stays at the prior"
        )
    for name, size in sizes.items():
        if size < global_batch_size and data.max_epochs.get(name) != 1:
            _warn(
                f"dataset.{name} has {size} training sequences, fewer than the global batch of "
                f"{global_batch_size}: a step may take one twice, from two passes"
            )
    return RunPlan(
        seed=seed,
        data=data,
        sequences=sequences,
        sampler=sampler,
        scorer=scorer,
        reward=reward,
        epochs=math.ceil(total_steps / of_an_epoch),
        steps_per_epoch=of_an_epoch,
        total_steps=total_steps,
        model=_model(cfg),
        ends_early=ends_early,
    )


def _steps_per_epoch(cfg: DictConfig, sizes: Mapping[str, int], global_batch_size: int) -> int:
    """Steps that draw as many sequences as the datasets hold together, at most as configured."""
    steps = sum(sizes.values()) // global_batch_size
    if steps == 0:
        raise UserError(
            f"the datasets hold {sum(sizes.values())} training sequences (examples, or packs) "
            f"together, fewer than one global batch of {global_batch_size} "
            "(batch_size * gradient_accumulation_steps * number of processes)"
        )
    limit = cfg.get("max_steps_per_epoch")
    return steps if limit is None else min(steps, limit)


def _model(cfg: DictConfig) -> dict[str, Any]:
    options: Any = OmegaConf.to_container(cfg.model, resolve=True)
    model = {f"model.{option}": value for option, value in options.items()}
    if "lora_rank" in options:
        files = weight_files(Path(cfg.checkpointer.checkpoint_dir))
        model["checkpointer.checkpoint_dir: the hash of its weights"] = fingerprint(files)
    return model


def _warn(message: str) -> None:
    if utils.get_world_size_and_rank()[1] == 0:
        log.warning(message)
