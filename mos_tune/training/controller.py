# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What happens between two optimizer steps: losses, scorer updates, held-out losses."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mos_tune.distributed import check_ranks_agree, log_rank_zero
from mos_tune.errors import UserError
from mos_tune.metrics.record import MixtureRecord
from mos_tune.mixture import derived_seed
from mos_tune.rewards import Probes
from mos_tune.training.dataset_loss import DatasetLoss
from mos_tune.training.held_out import held_out_losses
from mos_tune.training.learned_mixture import LearnedMixture
from mos_tune.training.run_plan import RunPlan
from mos_tune.training.tally import Tally


class MixtureController:
    """Do in order what belongs between two steps; the same state on every rank.

    Args:
        model (nn.Module): the model that is being trained.
        plan (RunPlan): data, mixture and number of steps.
        dataset_loss (DatasetLoss): training losses since they were last taken.
        probes (Callable[..., Probes]): makes probes of datasets and indices.
        record (MixtureRecord): the run's files and metrics.
        validate_every (int | None): optimizer steps between two held-out losses; None: never.
        log_every (int): optimizer steps between two logs of losses and mixture.
        after_step (Callable[[int], None]): called with the step when all is done that belongs to
            it, and the state is complete.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: RunPlan,
        *,
        dataset_loss: DatasetLoss,
        probes: Callable[..., Probes],
        record: MixtureRecord,
        validate_every: int | None,
        log_every: int,
        after_step: Callable[[int], None],
    ) -> None:
        self._model = model
        self._plan = plan
        self._sampler = plan.sampler
        self._mixture = LearnedMixture(plan, probes)
        self._tally = Tally(plan.sampler, plan.sequences)
        self._dataset_loss = dataset_loss
        self._probes = probes
        self._record = record
        self._validate_every = validate_every
        self._log_every = log_every
        self._after_step = after_step
        self._step = 0
        self._since_log = torch.zeros(len(plan.sampler.names), 2, dtype=torch.float64)
        self.status = ""

    def probabilities(self) -> Tensor:
        """Give the current mixture, shape ``[N]``."""
        return self._mixture.probabilities

    def start(self) -> None:
        """Do what needs the untouched model: theta_0's perplexities, the first held-out losses."""
        self._mixture.prepare(self._model, from_step=0)
        self._check_ranks_agree()
        examples = {name: len(one) for name, one in self._plan.data.train.items()}
        self._record.start(examples, self._sampler.sizes, self._mixture.probabilities)
        if self._validate_every is not None:
            self._validate()

    def on_draw(self, step: int, sequences: list[tuple[int, int]]) -> None:
        """Count a step's mixture and write down its examples."""
        # Dropout is then a function of the step, and no generator's state has to be saved.
        rank = dist.get_rank() if dist.is_initialized() else 0
        torch.manual_seed(derived_seed(self._plan.seed, "model", step, rank))
        names, probabilities = self._sampler.names, self._mixture.probabilities
        self._record.examples(step, self._tally.add_step(sequences, probabilities))
        datasets = {dataset for dataset, _ in sequences}
        if len(datasets) == 1:
            self.status = f"from {names[datasets.pop()]}"
        else:
            largest = probabilities.argsort(descending=True)[:5].tolist()
            self.status = " ".join(f"{names[i]} {probabilities[i]:.0%}" for i in largest)
        used_up = int((~self._sampler.available).sum())
        if used_up:
            self.status += f" ({used_up} of {len(names)} used up)"

    def on_batch(self, datasets: list[int], batch: dict[str, Tensor]) -> None:
        """Note which dataset each row of the next micro-batch is from."""
        self._dataset_loss.begin(datasets, batch)

    def on_step_end(self, step: int) -> None:
        """Do, in this order: training losses, mixture, held-out losses, logs, the rest."""
        self._step = step
        losses = self._dataset_loss.take()
        self._check_finite("training", losses[:, 0])
        if losses[:, 1].sum() == 0:
            raise UserError(
                f"no example of step {step} has a response token; the sequences drawn so far are "
                f"{self._sampler.draws}"
            )
        self._tally.add_response_tokens(losses[:, 1])
        self._since_log += losses
        self._note_used_up()
        self._update()
        if self._validate_every is not None and (
            step % self._validate_every == 0 or step == self._plan.total_steps
        ):
            self._validate()
        if step % self._log_every == 0:
            loss, tokens = self._since_log.unbind(dim=1)
            mixture, epochs = self._mixture.probabilities, self._sampler.epochs
            self._record.training(step, loss / tokens, mixture, epochs)
            self._since_log.zero_()
        self._after_step(step)

    def finish(self) -> None:
        """End the run's record."""
        average = self._tally.average_probabilities(self._step)
        self._record.end(self._step, average, self._tally.counts())

    def state_dict(self) -> dict[str, Any]:
        """Give the mixture's whole state: small, and the same on every rank."""
        return {
            "step": self._step,
            "total_steps": self._plan.total_steps,
            **self._plan.state_dict(),
            **self._mixture.state_dict(),
            "tally": self._tally.state_dict(),
            "since_log": self._since_log,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, model_is_untouched: bool) -> None:
        """Go on where ``state`` was taken.

        Args:
            state (Mapping[str, Any]): what :meth:`state_dict` gave.
            model_is_untouched (bool): the model is still theta_0 at this moment, so that more steps
                than the saved run planned are possible.

        Raises:
            UserError: if the plan, datasets, scorer or reward differ from those of the saved run.
        """
        self._step = state["step"]
        total_steps, planned = self._plan.total_steps, state["total_steps"]
        if total_steps != planned and not model_is_untouched:
            raise UserError(f"number of steps is {total_steps}, the checkpoint has {planned}")
        if total_steps < self._step:
            raise UserError(
                f"number of steps is {total_steps}, the checkpoint has made {self._step}"
            )
        self._mixture.load_state_dict(state)
        self._tally.load_state_dict(state["tally"])
        self._since_log = state["since_log"]
        if total_steps > planned:
            self._mixture.prepare(self._model, from_step=planned)
        self._check_ranks_agree()

    def _note_used_up(self) -> None:
        gone = self._mixture.note_used_up()
        if not gone:
            return
        self._record.used_up(self._step, gone, self._mixture.probabilities)
        for name in gone:
            examples = self._tally.counts()["examples"][name]
            log_rank_zero(
                f"dataset.{name} is used up after step {self._step}: {examples} examples in "
                f"{self._sampler.epochs[name]:g} passes",
            )

    def _update(self) -> None:
        started = time.perf_counter()
        rewards = self._mixture.update(self._model, self._step)
        if rewards is None:
            return
        self._check_ranks_agree()
        raw, smoothed = rewards
        seconds = time.perf_counter() - started
        mixture, counts = self._mixture.probabilities, self._tally.counts()
        self._record.update(self._step, mixture, smoothed, raw, counts, seconds)

    def _check_ranks_agree(self) -> None:
        state = {**self.state_dict(), "probabilities": self._mixture.probabilities}
        check_ranks_agree(state, self._step)

    def _validate(self) -> None:
        held_out = self._plan.data.held_out
        indices = {name: range(len(subset)) for name, subset in held_out.items()}
        losses = held_out_losses(self._model, self._probes(held_out, indices))
        self._check_finite("held-out", losses)
        self._record.validation(self._step, losses)

    def _check_finite(self, kind: str, losses: Tensor) -> None:
        for name, loss in zip(self._sampler.names, losses.tolist(), strict=True):
            if not math.isfinite(loss):
                raise UserError(
                    f"the {kind} loss of dataset.{name} is {loss} at step {self._step}; training "
                    "stops, and what is written stays as it is. Is optimizer.lr too high, or has "
                    "no example a response token?"
                )
