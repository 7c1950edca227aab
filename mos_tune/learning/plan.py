# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What is known of a run before its model is loaded, and what a resumed run must share of it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch.utils.data import Dataset

from mos_tune.distributed import log_rank_zero
from mos_tune.errors import UserError
from mos_tune.learning.early_stop import EarlyStop
from mos_tune.learning.policy import check_columns
from mos_tune.mixture import MixtureSampler, Sequences
from mos_tune.rewards import Reward
from mos_tune.scorers import Scorer, UpdateSchedule


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Data, mixture and number of steps; the same on every rank.

    Attributes:
        seed (int): the run's seed.
        sequences (Mapping[str, Sequences]): what is drawn of each dataset, by its name.
        examples (Mapping[str, Dataset]): the training examples that a reward measures: those in the
            sequences.
        held_out (Mapping[str, Dataset]): the held-out examples of each dataset, and after them of
            sets that are only measured. Default: none.
        objective (Mapping[str, float]): weights of held-out sets in their mean, and in what gain
            rewards raise; a set that it does not name has none. Default: all weigh the same.
        sampler (MixtureSampler): draws the sequences; holds the prior.
        scorer (Scorer | None): the policy. Default None: the mixture stays at the prior.
        reward (Reward | None): what the policy learns from; there with a scorer. Default None.
        early_stop (EarlyStop | None): says by the held-out losses which datasets are drawn no more.
            Default None: all are.
        total_steps (int): optimizer steps of the whole run.
        model (Mapping[str, Any]): what else must not change of the model, by its key in the config.
            Default: nothing.
        fingerprints (Mapping[str, str | None]): a hash of each dataset's content, by its key in
            the config. Default: none.
        pack_sizes (Mapping[str, int | None]): tokens that a pack of each dataset may hold; None
            where a sequence is an example. Default: none.
    """

    seed: int
    sequences: Mapping[str, Sequences]
    examples: Mapping[str, Dataset]
    held_out: Mapping[str, Dataset] = field(default_factory=dict)
    objective: Mapping[str, float] = field(default_factory=dict)
    sampler: MixtureSampler
    scorer: Scorer | None = None
    reward: Reward | None = None
    early_stop: EarlyStop | None = None
    total_steps: int
    model: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str | None] = field(default_factory=dict)
    pack_sizes: Mapping[str, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the scorer takes what the reward gives, and the objective's names.

        Raises:
            UserError: naming what does not fit.
        """
        for name in self.objective:
            if name not in self.held_out:
                raise UserError(
                    f"objective.{name} is no held-out set; there are {', '.join(self.held_out)}"
                )
        if self.reward is not None and self.scorer is not None:
            check_columns(self.reward, self.scorer)

    def state_dict(self) -> dict[str, Any]:
        """Give what is fixed for the whole run, to be compared when it resumes."""
        reward, scorer = self.reward, self.scorer
        settings: dict[str, int | str | None] = {
            "reward": None if reward is None else type(reward).__name__,
            "seed": self.seed,
            "scorer.update_every": (
                None if scorer is None else UpdateSchedule(scorer.update_every).setting()
            ),
            "reward.batch_size": None if reward is None else reward.batch_size,
        }
        if self.objective:  # an earlier version's checkpoint knows of none
            weights = (f"{name}: {weight:g}" for name, weight in self.objective.items())
            settings["objective"] = ", ".join(weights)
        held_out: Mapping[str, Any] = self.held_out
        sizes = {name: len(part) for name, part in held_out.items()}
        if reward is not None and reward.needs_held_out:
            for name, size in sizes.items():
                settings[f"number of held-out examples of dataset.{name}"] = size
        return {
            "total_steps": self.total_steps,
            "model": dict(self.model),
            "datasets": dict(self.fingerprints),
            "packing": dict(self.pack_sizes),
            "settings": settings,
            "held_out": sizes,
        }


def check_resumes(plan: RunPlan, saved: Mapping[str, Any], *, may_be_longer: bool) -> None:
    """Check that a run may resume from a saved state; this is the one place that compares.

    Args:
        plan (RunPlan): of the run that there is now.
        saved (Mapping[str, Any]): a mixture's whole state.
        may_be_longer (bool): whether more steps than the saved run planned are possible.

    Raises:
        UserError: naming the dataset or option that differs, and both values.
    """
    here = _settings(
        {
            **plan.state_dict(),
            "sampler": plan.sampler.state_dict(),
            "scorer": plan.scorer,
            "reward": plan.reward,
        }
    )
    there = _settings(saved)
    for key in {**here, **there}:
        if key == "dtype" and key not in there:
            continue  # an earlier version's checkpoint does not tell
        if here.get(key) != there.get(key):
            one, other = here.get(key), there.get(key)
            raise UserError(f"{key} is {one}, the checkpoint has {other}{_hint(key, one, other)}")
    for key in plan.fingerprints.keys() & saved["datasets"].keys():
        if plan.fingerprints[key] != saved["datasets"][key]:
            raise UserError(
                f"{key} has other examples than the checkpoint was written with: their hash is "
                f"{plan.fingerprints[key]}, the checkpoint has {saved['datasets'][key]}. Have its "
                "rows changed, or an option of it or of the tokenizer?"
            )
    total, planned, made = plan.total_steps, saved["total_steps"], saved["step"]
    if total != planned and not may_be_longer:
        raise UserError(f"number of steps is {total}, the checkpoint has {planned}")
    if total < made:
        raise UserError(f"number of steps is {total}, the checkpoint has made {made}")


def tell_changes(plan: RunPlan, saved: Mapping[str, Any]) -> None:
    """Warn of what a resumed run may change although what it reports is another measure then.

    Args:
        plan (RunPlan): of the run that there is now.
        saved (Mapping[str, Any]): a mixture's whole state.
    """
    # An earlier version's checkpoint does not tell.
    now, before = plan.state_dict()["held_out"], saved.get("held_out", {})
    changed = [
        f"{now[name]} of dataset.{name} instead of {before[name]}"
        for name in now
        if name in before and now[name] != before[name]
    ]
    if changed:
        log_rank_zero(
            f"After step {saved['step']}, held-out losses are of other examples than before, and "
            f"not to be compared with those: {', '.join(changed)}; has validation.max_examples "
            "changed?",
            logging.WARNING,
        )


def _settings(state: Mapping[str, Any]) -> dict[str, Any]:
    """Name all in a mixture's state that must not change, and is no hash."""
    sizes: Mapping[str, int] = state["sampler"]["sizes"]
    counts = {f"number of training sequences of dataset.{name}": n for name, n in sizes.items()}
    draws = {
        f"what a draw of dataset.{name} takes": (
            "an example" if size is None else f"a pack of {size} tokens (tokenizer.max_seq_len)"
        )
        for name, size in state["packing"].items()
    }
    switches = {key: "off" if state[key] is None else "on" for key in ("scorer", "reward")}
    return {
        "the list of datasets": list(sizes),
        **state["sampler"]["options"],
        **draws,
        **counts,
        **state["model"],
        **{f"{key}, on or off,": switch for key, switch in switches.items()},
        **state["settings"],
    }


def _hint(key: str, here: Any, saved: Any) -> str:
    if isinstance(here, list):
        new = [f"dataset.{name} is new" for name in here if name not in saved]
        gone = [f"dataset.{name} is gone" for name in saved if name not in here]
        return f": {', '.join(new + gone) or 'their order differs'}"
    return ""
