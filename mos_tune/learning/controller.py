# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What happens between two optimizer steps: losses, scorer updates, held-out losses."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mos_tune.distributed import check_ranks_agree, get_world_size_and_rank, log_rank_zero
from mos_tune.errors import UserError
from mos_tune.learning.counts import Counts
from mos_tune.learning.learned_mixture import LearnedMixture
from mos_tune.learning.losses import DatasetLosses, held_out_losses, held_out_mean
from mos_tune.learning.plan import RunPlan, check_resumes, tell_changes
from mos_tune.learning.probes import UpdateProbes
from mos_tune.metrics import MixtureRecord
from mos_tune.mixture import derived_seed, other_unit
from mos_tune.rewards import Probes, Progress


class MixtureController:
    """Do in order what belongs between two steps; the same state on every rank.

    It is what a :class:`~mos_tune.mixture.MixtureLoader` asks and tells.

    Args:
        model (nn.Module): the model that is being trained.
        plan (RunPlan): data, mixture and number of steps.
        losses (DatasetLosses): gets the training losses.
        record (MixtureRecord): the run's files and metrics.
        collate (Callable[[list[Any]], dict[str, Tensor]]): makes ``tokens`` and ``labels`` of
            examples that are measured.
        batch_size (int): examples in a forward pass that measures.
        device (torch.device): where the model is.
        validate_every (int | None): optimizer steps between two held-out losses. Default None:
            never.
        log_every (int): optimizer steps between two logs of losses and mixture. Default 1.
        optimizer (Optimizer | None): the model's, for rewards that ask for its learning rate or its
            second moments. Default None: such a reward is refused.
        after_step (Callable[[int], None] | None): called with the step when all is done that
            belongs to it, and the state is complete. Default None.

    Attributes:
        step (int): optimizer steps made, to be the loader's when a run resumes.
        status (str): the mixture in a few words, for a progress bar.
    """

    def __init__(
        self,
        model: nn.Module,
        plan: RunPlan,
        *,
        losses: DatasetLosses,
        record: MixtureRecord,
        collate: Callable[[list[Any]], dict[str, Tensor]],
        batch_size: int,
        device: torch.device,
        validate_every: int | None = None,
        log_every: int = 1,
        optimizer: Optimizer | None = None,
        after_step: Callable[[int], None] | None = None,
    ) -> None:
        self._model = model
        self._plan = plan
        self._sampler = plan.sampler
        self._world_size, self._rank = get_world_size_and_rank()
        self._probes = partial(
            Probes,
            collate=collate,
            batch_size=batch_size,
            device=device,
            rank=self._rank,
            world_size=self._world_size,
        )
        probes = None
        if plan.reward is not None:
            probes = UpdateProbes(
                plan.examples,
                plan.held_out,
                plan.reward,
                self._probes,
                plan.seed,
                self._progress,
                plan.objective,
            )
        self._mixture = LearnedMixture(plan.sampler, plan.scorer, plan.reward, probes)
        self._counts = Counts(plan.sampler, plan.sequences)
        self._losses = losses
        self._record = record
        self._stop = plan.early_stop
        self._validate_every = validate_every
        self._log_every = log_every
        self._optimizer = optimizer
        self._after_step = after_step
        self.step = 0
        self._since_log = torch.zeros(len(plan.sampler.names), 2, dtype=torch.float64)
        self.status = ""

    def probabilities(self) -> Tensor:
        """Give the current mixture, shape ``[N]``."""
        return self._mixture.probabilities

    def start(self) -> None:
        """Start a run, before step 1: theta_0's perplexities, files, the first held-out losses."""
        self._mixture.prepare(self._model, steps=range(1, self._plan.total_steps + 1))
        self._check_ranks_agree()
        examples: Mapping[str, Any] = self._plan.examples
        sizes = {name: len(part) for name, part in examples.items()}
        self._record.start(
            sizes,
            self._sampler.sizes,
            self._mixture.probabilities,
            unit=self._sampler.unit,
            lengths=self._sampler.lengths,
        )
        if self._validate_every is not None:
            self._validate()

    def on_step_start(self, step: int) -> None:
        """Make dropout a function of step and rank, so that no generator's state is saved."""
        torch.manual_seed(derived_seed(self._plan.seed, "model", step, self._rank))

    def on_draw(self, step: int, sequences: list[tuple[int, int]]) -> None:
        """Count a step's mixture and write down its examples."""
        names, probabilities = self._sampler.names, self._mixture.probabilities
        self._record.examples(step, self._counts.add_step(sequences, probabilities))
        datasets = {dataset for dataset, _ in sequences}
        if len(datasets) == 1:
            self.status = f"from {names[datasets.pop()]}"
        else:
            largest = probabilities.argsort(descending=True)[:5].tolist()
            told = [f"{names[i]} {probabilities[i]:.0%}" for i in largest]
            if self._sampler.lengths:
                # Short answers are a small share of the gradient, however often they are drawn.
                other = other_unit(self._sampler.unit)
                shares = self._sampler.shares(probabilities, other)
                told = [f"{one} ({shares[i]:.0%})" for one, i in zip(told, largest, strict=True)]
            self.status = " ".join(told)
        exhausted = int((~self._sampler.available).sum())
        if exhausted:
            self.status += f" ({exhausted} of {len(names)} exhausted)"

    def on_batch(self, datasets: list[int], batch: dict[str, Tensor]) -> None:
        """Note which dataset each row of the next micro-batch is from."""
        self._losses.begin(datasets, batch)

    def on_step_end(self, step: int) -> None:
        """Do, in this order: training losses, mixture, held-out losses, logs, the rest."""
        self.step = step
        losses = self._losses.take()
        self._check_finite("training", self._sampler.names, losses[:, 0])
        if losses[:, 1].sum() == 0:
            raise UserError(
                f"no example of step {step} has a response token; the sequences drawn so far are "
                f"{self._sampler.draws}"
            )
        self._counts.add_response_tokens(losses[:, 1])
        self._since_log += losses
        self._note_exhausted()
        self._note_prior()
        self._learn()
        self._freeze()
        if self._validate_every is not None and (
            step % self._validate_every == 0 or step == self._plan.total_steps
        ):
            self._validate()
        if step % self._log_every == 0:
            loss, tokens = self._since_log.unbind(dim=1)
            mixture, epochs = self._mixture.probabilities, self._sampler.epochs
            self._record.training(step, loss / tokens, mixture, epochs)
            self._since_log.zero_()
        if self._after_step is not None:
            self._after_step(step)

    def finish(self) -> None:
        """End the run's record."""
        average = self._counts.average_probabilities(self.step)
        self._record.end(self.step, average, self._counts.by_unit())

    def state_dict(self) -> dict[str, Any]:
        """Give the mixture's whole state: small, and the same on every rank."""
        return {
            "step": self.step,
            **self._plan.state_dict(),
            **self._mixture.state_dict(),
            "tally": self._counts.state_dict(),
            "since_log": self._since_log,
            "early_stop": None if self._stop is None else self._stop.state_dict(),
        }

    def resume(self, state: Mapping[str, Any], *, model_is_untouched: bool) -> None:
        """Resume a run where ``state`` was taken, in place of :meth:`start`.

        What the run wrote after that into the record's files is cut off. Arguments and errors are
        those of :meth:`load_state_dict`.
        """
        self.load_state_dict(state, model_is_untouched=model_is_untouched)
        self._record.truncate_after(self.step)

    def load_state_dict(self, state: Mapping[str, Any], *, model_is_untouched: bool) -> None:
        """Take over a saved state, and leave the record's files as they are.

        Args:
            state (Mapping[str, Any]): what :meth:`state_dict` gave.
            model_is_untouched (bool): the model is still theta_0 at this moment, so that more steps
                than the saved run planned are possible.

        Raises:
            UserError: if the plan, datasets, scorer or reward differ from those of the saved run.
        """
        check_resumes(self._plan, state, may_be_longer=model_is_untouched)
        tell_changes(self._plan, state)
        self.step = state["step"]
        self._mixture.load_state_dict(state)
        self._counts.load_state_dict(state["tally"])
        self._since_log = state["since_log"]
        if self._stop is not None and state.get("early_stop") is not None:
            self._stop.load_state_dict(state["early_stop"])
        more = range(state["total_steps"] + 1, self._plan.total_steps + 1)
        self._mixture.prepare(self._model, steps=more)
        self._check_ranks_agree()

    def _progress(self) -> Progress:
        counts = self._counts.by_unit()
        return Progress(
            step=self.step,
            probabilities=self._mixture.probabilities,
            draws=counts["draws"],
            tokens=counts["tokens"],
            optimizer=self._optimizer,
        )

    def _note_exhausted(self) -> None:
        gone = self._mixture.after_draws()
        if not gone:
            return
        self._record.used_up(self.step, gone, self._mixture.probabilities)
        for name in gone:
            examples = self._counts.by_unit()["examples"][name]
            log_rank_zero(
                f"dataset.{name} is exhausted after step {self.step}: {examples} examples in "
                f"{self._sampler.epochs[name]:g} passes",
            )

    def _note_prior(self) -> None:
        # A hundred lines show its course, however long the run is.
        every = math.ceil(self._plan.total_steps / 100)
        if self._sampler.prior_changes and self.step % every == 0:
            self._record.scheduled(self.step, self._mixture.probabilities)

    def _learn(self) -> None:
        started = time.perf_counter()
        rewards = self._mixture.learn(self._model, self.step)
        if rewards is None:
            return
        self._check_ranks_agree()
        raw, smoothed = rewards
        seconds = time.perf_counter() - started
        mixture, counts = self._mixture.probabilities, self._counts.by_unit()
        assert self._plan.reward is not None
        columns = self._plan.reward.columns
        self._record.learned(self.step, mixture, smoothed, raw, counts, seconds, columns)

    def _freeze(self) -> None:
        if self._mixture.freeze(self.step, self._counts.average_probabilities(self.step)):
            self._record.frozen(self.step, self._mixture.probabilities)
            log_rank_zero(
                f"The mixture stays at its average after step {self.step}, by scorer.update_every"
            )

    def _check_ranks_agree(self) -> None:
        # What goes into the scorer; itself it is rank 0's everywhere, and so is the mixture.
        state = {key: part for key, part in self.state_dict().items() if key != "scorer"}
        check_ranks_agree(state, self.step)

    def _validate(self) -> None:
        held_out: Mapping[str, Any] = self._plan.held_out
        indices = {name: range(len(part)) for name, part in held_out.items()}
        losses = held_out_losses(self._model, self._probes(held_out, indices))
        self._check_finite("held-out", held_out, losses)
        self._record.validation(
            self.step,
            list(held_out),
            losses,
            held_out_mean(losses, held_out, self._plan.objective),
            self._sampler.epochs,
        )
        if self._stop is not None:
            named = dict(zip(held_out, losses.tolist(), strict=True))
            self._stop_early(self._stop.due(self.step, named))

    def _stop_early(self, due: Mapping[str, int]) -> None:
        to_come = self._plan.total_steps - self.step
        stopped = {
            name: best
            for name, best in due.items()
            if to_come > 0 and self._sampler.stop(name, steps_to_come=to_come)
        }
        if not stopped:
            return
        self._mixture.after_draws()
        self._record.stopped(self.step, stopped, self._mixture.probabilities)
        for name, best in stopped.items():
            log_rank_zero(
                f"dataset.{name} is drawn no more after step {self.step}: its held-out loss was "
                f"best at step {best}"
            )

    def _check_finite(self, kind: str, names: Iterable[str], losses: Tensor) -> None:
        for name, loss in zip(names, losses.tolist(), strict=True):
            if not math.isfinite(loss):
                raise UserError(
                    f"the {kind} loss of dataset.{name} is {loss} at step {self.step}; training "
                    "stops, and what is written stays as it is. Is optimizer.lr too high, or has "
                    "no example a response token?"
                )
