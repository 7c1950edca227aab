# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""All of a run that is known before its model is loaded."""

import logging
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mos_tune.base_checkpoint import check_base_checkpoint, fingerprint, weight_files
from mos_tune.components import build, build_without_weights, is_off, try_components
from mos_tune.data.limits import ModelLimits
from mos_tune.data.load import load_data
from mos_tune.data.packing import mean_lengths, pack_sizes, training_sequences
from mos_tune.distributed import get_world_size_and_rank, log_rank_zero
from mos_tune.errors import UserError
from mos_tune.learning import EarlyStop, RunPlan
from mos_tune.learning.policy import check_scorer
from mos_tune.mixture import MixtureSampler
from mos_tune.scorers import UpdateSchedule
from mos_tune.sections import Sections
from mos_tune.training.config import check_reward
from mos_tune.training.weights import with_numbers


@dataclass(frozen=True, kw_only=True)
class RecipePlan(RunPlan):
    """A run of a recipe, whose stock train loop counts in epochs.

    Attributes:
        epochs (int): of the run.
        steps_per_epoch (int): optimizer steps of an epoch; the last one may be shorter.
        ends_early (str): why there are fewer than the config asks for; empty if there are not.
    """

    epochs: int
    steps_per_epoch: int
    ends_early: str


def plan_run(
    cfg: DictConfig, sections: Sections, *, seed: int, epochs: int, resume: bool
) -> RecipePlan:
    """Build and check all that a run needs but its model.

    Args:
        cfg (DictConfig): the run's config, checked.
        sections (Sections): its sections that are ours.
        seed (int): the run's seed.
        epochs (int): as the config asks for.
        resume (bool): the run may go on from a checkpoint.

    Raises:
        UserError: for anything wrong with datasets, sampler, scorer, reward or files.
    """
    check_base_checkpoint(cfg.checkpointer)
    tokenizer = build("tokenizer", cfg.tokenizer)
    build("checkpointer", cfg.checkpointer, should_load_recipe_state=resume)
    limits = ModelLimits.of(build_without_weights(cfg))
    data = load_data(sections, tokenizer, seed, limits)
    limits.check_tokenizer(tokenizer, data.packed)
    sequences = training_sequences(data, getattr(tokenizer, "max_seq_len", None))
    sizes = {name: len(one) for name, one in sequences.items()}
    world_size, _ = get_world_size_and_rank()
    global_batch_size = cfg.batch_size * cfg.gradient_accumulation_steps * world_size
    of_an_epoch = _steps_per_epoch(cfg, sizes, global_batch_size)
    asked_for = epochs * of_an_epoch
    lengths = mean_lengths(data, sequences)
    sampler: MixtureSampler = build(
        "sampler",
        with_numbers(cfg, sizes, asked_for * global_batch_size, lengths),
        sizes,
        global_batch_size=global_batch_size,
        seed=seed,
        shuffle=cfg.get("shuffle", True),
        max_epochs=data.max_epochs,
        lengths=lengths,
    )
    scorer = reward = None
    if not is_off(cfg.get("scorer")):
        scorer = build("scorer", cfg.scorer, sampler.prior, seed=seed)
        check_scorer(cfg.scorer["_component_"], scorer)
        reward = build("reward", cfg.reward, sampler.names)
        check_reward(cfg, reward)
    total_steps = asked_for if sampler.max_steps is None else min(asked_for, sampler.max_steps)
    early_stop = None
    if sections.early_stop is not None:
        early_stop = EarlyStop(sampler.names, **asdict(sections.early_stop))
    of_an_epoch = min(of_an_epoch, total_steps)
    ends_early = ""
    if total_steps < asked_for:
        ends_early = (
            f"The run ends early, at step {total_steps} of {asked_for}: all datasets have "
            "max_epochs, and are then exhausted"
        )
        log_rank_zero(ends_early)
    try_components(cfg, total_steps)
    if scorer is not None and UpdateSchedule(scorer.update_every).first > total_steps:
        log_rank_zero(
            f"scorer.update_every is {scorer.update_every}, but the run has only {total_steps} "
            "steps: the mixture stays at the prior",
            level=logging.WARNING,
        )
    for name, size in sizes.items():
        if size < global_batch_size and data.max_epochs.get(name) != 1:
            log_rank_zero(
                f"dataset.{name} has {size} training sequences, fewer than the global batch of "
                f"{global_batch_size}: a step may take one twice, from two passes",
                level=logging.WARNING,
            )
    return RecipePlan(
        seed=seed,
        sequences=sequences,
        examples=data.train,
        held_out=data.held_out,
        objective=sections.objective,
        sampler=sampler,
        scorer=scorer,
        reward=reward,
        early_stop=early_stop,
        epochs=math.ceil(total_steps / of_an_epoch),
        steps_per_epoch=of_an_epoch,
        total_steps=total_steps,
        model=_model(cfg),
        fingerprints=data.fingerprints,
        pack_sizes=pack_sizes(sequences),
        ends_early=ends_early,
    )


def check_output_dir(output_dir: str) -> None:
    """Check that a run can write its files.

    Raises:
        UserError: naming the folder.
    """
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
    except OSError as error:
        raise UserError(f"output_dir {output_dir} cannot be written: {error.strerror}") from error


def _steps_per_epoch(cfg: DictConfig, sizes: Mapping[str, int], global_batch_size: int) -> int:
    """Count the steps that draw what the datasets hold together, at most as configured."""
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
    model["dtype"] = str(cfg.dtype)
    if "lora_rank" in options:
        files = weight_files(Path(cfg.checkpointer.checkpoint_dir))
        model["checkpointer.checkpoint_dir: the hash of its weights"] = fingerprint(files)
    return model
