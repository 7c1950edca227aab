# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The mixture, and how it is learned."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mos_tune.distributed import from_rank_zero, get_world_size_and_rank
from mos_tune.errors import UserError
from mos_tune.learning.policy import current_mixture, what_it_takes
from mos_tune.learning.probes import UpdateProbes
from mos_tune.mixture import MixtureSampler
from mos_tune.rewards import Reward, measuring
from mos_tune.scorers import Scorer, UpdateSchedule


class LearnedMixture:
    """Hold the probabilities to draw with, and learn them if there is a scorer.

    Rank 0 learns, and the others take scorer and probabilities from it: on another processor the
    last bits of a logarithm differ, and with them would, some day, the examples that are drawn.

    Args:
        sampler (MixtureSampler): holds the prior, and knows which datasets may be drawn.
        scorer (Scorer | None): the policy; None keeps the mixture at the prior.
        reward (Reward | None): what the policy learns from.
        probes (UpdateProbes | None): what the reward measures.

    Attributes:
        available (Tensor): which datasets may be drawn, bool, shape ``[N]``.
        probabilities (Tensor): float64, shape ``[N]``.
    """

    def __init__(
        self,
        sampler: MixtureSampler,
        scorer: Scorer | None,
        reward: Reward | None,
        probes: UpdateProbes | None,
    ) -> None:
        self._sampler, self._scorer, self._reward = sampler, scorer, reward
        self._probes = probes
        self._schedule = None if scorer is None else UpdateSchedule(scorer.update_every)
        self._frozen: Tensor | None = None
        self._refresh()

    def _refresh(self, rewards: Tensor | None = None) -> None:
        scorer, prior, available = self._scorer, self._sampler.prior, self._sampler.available

        def learned() -> tuple[dict[str, Any] | None, Tensor]:
            if scorer is not None and rewards is not None:
                scorer.learn(what_it_takes(scorer, rewards), available)
            state = None if scorer is None else scorer.state_dict()
            if self._frozen is not None:
                return state, current_mixture(None, self._frozen, available)
            return state, current_mixture(scorer, prior, available)

        state, self.probabilities = from_rank_zero(learned)
        self.available = available
        if scorer is not None and state is not None and get_world_size_and_rank()[1] > 0:
            scorer.load_state_dict(state)

    def prepare(self, model: nn.Module, *, steps: range) -> None:
        """Let the reward measure the untouched model on the probes of all updates to come.

        Args:
            model (nn.Module): theta_0.
            steps (range): the optimizer steps to come.
        """
        if self._scorer is None or self._reward is None or self._probes is None:
            return
        updates = [number for number in map(self._number, steps) if number is not None]
        if updates:
            with measuring(model):
                self._reward.prepare(model, self._probes.of_all(updates))

    def after_draws(self) -> list[str]:
        """Draw no more from datasets that have nothing left, and name those that are new to it.

        After a step, this also takes over a prior that changes from step to step.
        """
        gone = (self.available & ~self._sampler.available).nonzero().flatten().tolist()
        if gone or self._sampler.prior_changes:
            self._refresh()
        return [self._sampler.names[dataset] for dataset in gone]

    def learn(self, model: nn.Module, step: int) -> tuple[Tensor, Tensor] | None:
        """Measure, smooth and learn if it is time, and something is left to draw.

        Returns:
            tuple[Tensor, Tensor] | None: raw and smoothed rewards, shape ``[N]``; None when it is
                not time.
        """
        if self._scorer is None or self._reward is None or self._probes is None:
            return None
        number = self._number(step)
        if number is None or not self.available.any():
            return None
        with measuring(model):
            measured = self._reward.measure(model, self._probes.of_update(number))
        smoothed = self._reward.smooth(measured)
        self._refresh(smoothed)
        return measured, smoothed

    def _number(self, step: int) -> int | None:
        return None if self._schedule is None else self._schedule.update_after(step)

    def freeze(self, step: int, average: Tensor) -> bool:
        """Stay at the average mixture if it is time for that.

        Args:
            step (int): the optimizer step that has been made.
            average (Tensor): mean of the mixture over the steps so far, shape ``[N]``.

        Returns:
            bool: whether it was.
        """
        if self._schedule is None or step != self._schedule.frozen_after:
            return False
        self._frozen = average
        self._refresh()
        return True

    def state_dict(self) -> dict[str, Any]:
        """Give the state of sampler, scorer and reward, and where the mixture stays."""
        return {
            "sampler": self._sampler.state_dict(),
            "scorer": None if self._scorer is None else self._scorer.state_dict(),
            "reward": None if self._reward is None else self._reward.state_dict(),
            "frozen": self._frozen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where ``state`` was taken.

        Raises:
            UserError: if scorer or reward do not take it.
        """
        self._sampler.load_state_dict(state["sampler"])
        self._frozen = state.get("frozen")  # an earlier version's checkpoint has none
        for key, part in (("scorer", self._scorer), ("reward", self._reward)):
            if part is not None:
                try:
                    part.load_state_dict(state[key])
                except (KeyError, RuntimeError, ValueError) as error:
                    raise UserError(f"{key} differs from the checkpoint's: {error}") from error
        self._refresh()
