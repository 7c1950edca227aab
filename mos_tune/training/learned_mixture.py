# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The mixture, and how it is learned."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from mos_tune.errors import UserError
from mos_tune.rewards import Probes, measuring
from mos_tune.training.policy import current_mixture
from mos_tune.training.run_plan import RunPlan
from mos_tune.training.update_probes import UpdateProbes


class LearnedMixture:
    """Hold the probabilities to draw with, and learn them if there is a scorer.

    Args:
        plan (RunPlan): has sampler, scorer and reward.
        probes (Callable[..., Probes]): makes probes of datasets and indices.

    Attributes:
        available (Tensor): which datasets may be drawn, bool, shape ``[N]``.
        probabilities (Tensor): float64, shape ``[N]``.
    """

    def __init__(self, plan: RunPlan, probes: Callable[..., Probes]) -> None:
        self._plan = plan
        self._sampler, self._scorer, self._reward = plan.sampler, plan.scorer, plan.reward
        self._probes = None
        if plan.reward is not None:
            self._probes = UpdateProbes(plan.data, plan.reward, probes, plan.seed)
        self._refresh()

    def _refresh(self) -> None:
        self.available = self._sampler.available
        self.probabilities = current_mixture(self._scorer, self._sampler.prior, self.available)

    def prepare(self, model: nn.Module, *, from_step: int) -> None:
        """Let the reward measure the untouched model on the probes of all updates to come."""
        if self._scorer is None or self._reward is None or self._probes is None:
            return
        every = self._scorer.update_every
        updates = range(from_step // every + 1, self._plan.total_steps // every + 1)
        if updates:
            with measuring(model):
                self._reward.prepare(model, self._probes.of_all(updates))

    def note_used_up(self) -> list[str]:
        """Draw no more from datasets that have nothing left, and name those that are new to it."""
        gone = (self.available & ~self._sampler.available).nonzero().flatten().tolist()
        if gone:
            self._refresh()
        return [self._sampler.names[dataset] for dataset in gone]

    def update(self, model: nn.Module, step: int) -> tuple[Tensor, Tensor] | None:
        """Update the scorer if it is time, and something is left to draw.

        Returns:
            tuple[Tensor, Tensor] | None: raw and smoothed rewards, shape ``[N]``; None without an
                update.
        """
        if self._scorer is None or self._reward is None or self._probes is None:
            return None
        number, remainder = divmod(step, self._scorer.update_every)
        if remainder or not self.available.any():
            return None
        with measuring(model):
            raw, smoothed = self._reward.update(model, self._probes.of_update(number))
        self._scorer.update(smoothed, self.available)
        self._refresh()
        return raw, smoothed

    def state_dict(self) -> dict[str, Any]:
        """Give its state, and the settings that must not change."""
        return {
            "settings": self._settings(),
            "sampler": self._sampler.state_dict(),
            "scorer": None if self._scorer is None else self._scorer.state_dict(),
            "reward": None if self._reward is None else self._reward.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            UserError: if settings, datasets, scorer or reward differ from those of the saved run.
        """
        for key, value in self._settings().items():
            saved = state["settings"][key]
            if saved != value:
                raise UserError(f"{key} is {value}, the checkpoint has {saved}")
        self._sampler.load_state_dict(state["sampler"])
        for key, part in (("scorer", self._scorer), ("reward", self._reward)):
            if (part is None) != (state[key] is None):
                here, there = ("off", "on") if part is None else ("on", "off")
                raise UserError(f"{key} is {here} in this config and {there} in the checkpoint")
            if part is not None:
                try:
                    part.load_state_dict(state[key])
                except (KeyError, RuntimeError, ValueError) as error:
                    raise UserError(f"{key} differs from the checkpoint's: {error}") from error
        self._refresh()

    def _settings(self) -> dict[str, int | str | None]:
        """What decides what is measured, and when, beside the number of steps."""
        reward, scorer = self._reward, self._scorer
        settings: dict[str, int | str | None] = {
            "reward": None if reward is None else type(reward).__name__,
            "seed": self._plan.seed,
            "scorer.update_every": None if scorer is None else scorer.update_every,
            "reward.batch_size": None if reward is None else reward.batch_size,
        }
        if reward is not None and reward.needs_held_out:
            for name, examples in self._plan.data.held_out.items():
                settings[f"number of held-out examples of dataset.{name}"] = len(examples)
        return settings
