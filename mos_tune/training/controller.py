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
from torchtune import utils

from mos_tune.errors import UserError
from mos_tune.mixture import MixtureSampler, derived_seed
from mos_tune.rewards import Probes, Reward, measuring
from mos_tune.scorers import Scorer
from mos_tune.training.agreement import check_ranks_agree
from mos_tune.training.data import MixtureData, Sequences
from mos_tune.training.dataset_loss import DatasetLoss
from mos_tune.training.held_out import held_out_losses
from mos_tune.training.packing import pack_sizes
from mos_tune.training.policy import current_mixture
from mos_tune.training.record import MixtureRecord
from mos_tune.training.tally import Tally
from mos_tune.training.update_probes import UpdateProbes

log = utils.get_logger("INFO")


class MixtureController:
    """Keep the mixture, and change it between steps; the same state on every rank.

    Args:
        model (nn.Module): the model that is being trained.
        data (MixtureData): the examples.
        sequences (Mapping[str, Sequences]): what is made of the training examples to draw.
        sampler (MixtureSampler): draws them; holds the prior.
        scorer (Scorer | None): the policy. None keeps the mixture at the prior.
        reward (Reward | None): what the policy learns from; needed with a scorer.
        dataset_loss (DatasetLoss): training losses since they were last taken.
        probes (Callable[..., Probes]): makes probes of datasets and indices.
        record (MixtureRecord): the run's files and metrics.
        seed (int): decides which examples are probed.
        total_steps (int): optimizer steps of the whole run.
        validate_every (int | None): optimizer steps between two held-out losses; None: never.
        log_every (int): optimizer steps between two logs of losses and mixture.
        after_step (Callable[[int], None]): called with the step when all is done that belongs to
            it, and the state is complete.
    """

    def __init__(
        self,
        model: nn.Module,
        data: MixtureData,
        sequences: Mapping[str, Sequences],
        sampler: MixtureSampler,
        scorer: Scorer | None,
        reward: Reward | None,
        *,
        dataset_loss: DatasetLoss,
        probes: Callable[..., Probes],
        record: MixtureRecord,
        seed: int,
        total_steps: int,
        validate_every: int | None,
        log_every: int,
        after_step: Callable[[int], None],
    ) -> None:
        self._model = model
        self._data = data
        self._sampler = sampler
        self._scorer = scorer
        self._reward = reward
        self._dataset_loss = dataset_loss
        self._probes = probes
        self._update_probes = None if reward is None else UpdateProbes(data, reward, probes, seed)
        self._record = record
        self._seed = seed
        self._total_steps = total_steps
        self._validate_every = validate_every
        self._log_every = log_every
        self._after_step = after_step
        self._step = 0
        self._available = sampler.available
        self._probabilities = self._policy()
        self._pack_sizes = pack_sizes(sequences)
        self._tally = Tally(sampler, sequences)
        self._since_log = torch.zeros(len(sampler.names), 2, dtype=torch.float64)
        self.status = ""

    def probabilities(self) -> Tensor:
        """Give the current mixture, shape ``[N]``."""
        return self._probabilities

    def _policy(self) -> Tensor:
        return current_mixture(self._scorer, self._sampler.prior, self._available)

    def start(self) -> None:
        """Do what needs the untouched model: theta_0's perplexities, the first held-out losses."""
        self._prepare(from_step=0)
        self._check_ranks_agree()
        examples = {name: len(one) for name, one in self._data.train.items()}
        self._record.start(examples, self._sampler.sizes, self._probabilities)
        if self._validate_every is not None:
            self._validate()

    def _prepare(self, from_step: int) -> None:
        """Let the reward measure the untouched model on the probes of all updates to come."""
        if self._scorer is None or self._reward is None or self._update_probes is None:
            return
        every = self._scorer.update_every
        updates = range(from_step // every + 1, self._total_steps // every + 1)
        if updates:
            with measuring(self._model):
                self._reward.prepare(self._model, self._update_probes.of_all(updates))

    def on_draw(self, step: int, sequences: list[tuple[int, int]]) -> None:
        """Count a step's mixture and write down its examples."""
        # Dropout is then a function of the step, and no generator's state has to be saved.
        rank = dist.get_rank() if dist.is_initialized() else 0
        torch.manual_seed(derived_seed(self._seed, "model", step, rank))
        self._record.examples(step, self._tally.add_step(sequences, self._probabilities))
        names = self._sampler.names
        datasets = {dataset for dataset, _ in sequences}
        if len(datasets) == 1:
            self.status = f"from {names[datasets.pop()]}"
        else:
            largest = self._probabilities.argsort(descending=True)[:5].tolist()
            self.status = " ".join(f"{names[i]} {self._probabilities[i]:.0%}" for i in largest)
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
        if self._scorer is not None and step % self._scorer.update_every == 0:
            self._update()
        if self._validate_every is not None and (
            step % self._validate_every == 0 or step == self._total_steps
        ):
            self._validate()
        if step % self._log_every == 0:
            loss, tokens = self._since_log.unbind(dim=1)
            self._record.training(step, loss / tokens, self._probabilities, self._sampler.epochs)
            self._since_log.zero_()
        self._after_step(step)

    def _note_used_up(self) -> None:
        names, before, now = self._sampler.names, self._available, self._sampler.available
        gone = [names[i] for i in (before & ~now).nonzero().flatten().tolist()]
        if not gone:
            return
        self._available = now
        self._probabilities = self._policy()
        self._record.used_up(self._step, gone, self._probabilities)
        for name in gone:
            examples = self._tally.counts()["examples"][name]
            utils.log_rank_zero(
                log,
                f"dataset.{name} is used up after step {self._step}: {examples} examples in "
                f"{self._sampler.epochs[name]:g} passes",
            )

    def finish(self) -> None:
        """End the run's record."""
        average = self._tally.average_probabilities(self._step)
        self._record.end(self._step, average, self._tally.counts())

    def state_dict(self) -> dict[str, Any]:
        """Give the mixture's whole state: small, and the same on every rank."""
        return {
            "step": self._step,
            "total_steps": self._total_steps,
            "plan": self._plan(),
            "datasets": self._data.fingerprints,
            "packing": self._pack_sizes,
            "sampler": self._sampler.state_dict(),
            "scorer": None if self._scorer is None else self._scorer.state_dict(),
            "reward": None if self._reward is None else self._reward.state_dict(),
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
        planned = state["total_steps"]
        if self._total_steps != planned and not model_is_untouched:
            raise UserError(f"number of steps is {self._total_steps}, the checkpoint has {planned}")
        if self._total_steps < self._step:
            raise UserError(
                f"number of steps is {self._total_steps}, the checkpoint has made {self._step}"
            )
        for key, value in self._plan().items():
            if state["plan"][key] != value:
                raise UserError(f"{key} is {value}, the checkpoint has {state['plan'][key]}")
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
        self._tally.load_state_dict(state["tally"])
        self._since_log = state["since_log"]
        self._available = self._sampler.available
        self._probabilities = self._policy()
        if self._total_steps > planned:
            self._prepare(from_step=planned)
        self._check_ranks_agree()

    def _plan(self) -> dict[str, int | str | None]:
        """What decides what is measured, and when, beside the number of steps."""
        plan: dict[str, int | str | None] = {
            "reward": None if self._reward is None else type(self._reward).__name__,
            "seed": self._seed,
            "scorer.update_every": None if self._scorer is None else self._scorer.update_every,
            "reward.batch_size": None if self._reward is None else self._reward.batch_size,
        }
        if self._reward is not None and self._reward.needs_held_out:
            for name, examples in self._data.held_out.items():
                plan[f"number of held-out examples of dataset.{name}"] = len(examples)
        return plan

    def _update(self) -> None:
        assert self._scorer is not None and self._reward is not None
        assert self._update_probes is not None
        if not self._available.any():  # the run ends, and there is no policy to learn
            return
        started = time.perf_counter()
        probes = self._update_probes.of_update(self._step // self._scorer.update_every)
        with measuring(self._model):
            raw, smoothed = self._reward.update(self._model, probes)
        self._scorer.update(smoothed, self._available)
        self._probabilities = self._policy()
        self._check_ranks_agree()
        seconds = time.perf_counter() - started
        counts = self._tally.counts()
        self._record.update(self._step, self._probabilities, smoothed, raw, counts, seconds)

    def _check_ranks_agree(self) -> None:
        state = {**self.state_dict(), "probabilities": self._probabilities}
        check_ranks_agree(state, self._step)

    def _validate(self) -> None:
        held_out = self._data.held_out
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
