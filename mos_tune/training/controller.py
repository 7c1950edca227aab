# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What happens between two optimizer steps: scorer updates, held-out losses, logs."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mos_tune.errors import UserError
from mos_tune.mixture import MixtureSampler, probe_indices
from mos_tune.rewards import ProbeBatch, Probes, Reward, measuring, response_log_likelihood
from mos_tune.scorers import MLPScorer
from mos_tune.training.agreement import check_ranks_agree
from mos_tune.training.data import MixtureData
from mos_tune.training.dataset_loss import DatasetLoss
from mos_tune.training.record import MixtureRecord


class MixtureController:
    """Keep the mixture, and change it between steps; the same state on every rank.

    Args:
        model (nn.Module): the model that is being trained.
        data (MixtureData): the examples.
        sampler (MixtureSampler): draws them; holds the prior.
        scorer (MLPScorer | None): the policy. None keeps the mixture at the prior.
        reward (Reward | None): what the policy learns from; needed with a scorer.
        dataset_loss (DatasetLoss): training losses of the current step.
        probes (Callable[..., Probes]): makes probes of ``datasets`` and ``indices``.
        seed (int): decides which examples are probed.
        total_steps (int): optimizer steps of the whole run.
        validate_every (int | None): optimizer steps between two held-out losses.
        log_every (int): optimizer steps between two logs of losses and probabilities.
        log (Callable[[dict[str, float], int], None] | None): the metric logger, on rank 0.
        record (MixtureRecord | None): the run's files, on rank 0.
    """

    def __init__(
        self,
        model: nn.Module,
        data: MixtureData,
        sampler: MixtureSampler,
        scorer: MLPScorer | None,
        reward: Reward | None,
        *,
        dataset_loss: DatasetLoss,
        probes: Callable[..., Probes],
        seed: int,
        total_steps: int,
        validate_every: int | None,
        log_every: int,
        log: Callable[[dict[str, float], int], None] | None,
        record: MixtureRecord | None,
    ) -> None:
        self._model = model
        self._data = data
        self._sampler = sampler
        self._scorer = scorer
        self._reward = reward
        self._dataset_loss = dataset_loss
        self._probes = probes
        self._seed = seed
        self._total_steps = total_steps
        self._validate_every = validate_every
        self._log_every = log_every
        self._log = log
        self._record = record
        self._names = sampler.names
        self._step = 0
        self._probability_sum = torch.zeros_like(sampler.prior)
        self._tokens = torch.zeros_like(sampler.prior)
        self._since_log = torch.zeros(len(self._names), 2, dtype=torch.float64)
        self.status = ""

    def probabilities(self) -> Tensor:
        """Give the current mixture, shape ``[N]``."""
        return self._sampler.prior if self._scorer is None else self._scorer.probabilities()

    def start(self) -> None:
        """Do what needs the untouched model: theta_0's perplexities, the first held-out losses."""
        if self._reward is not None and self._scorer is not None:
            updates = self._total_steps // self._scorer.update_every
            chosen = [self._probe_indices(update) for update in range(1, updates + 1)]
            union = {
                name: sorted({index for indices in chosen for index in indices[name]})
                for name in self._names
            }
            if updates:
                with measuring(self._model):
                    self._reward.prepare(self._model, self._probes(self._data.train, union))
        if self._record is not None:
            self._record.event(
                "start",
                0,
                names=self._names,
                sizes=self._sampler.sizes,
                probabilities=self._named(self.probabilities()),
            )
        if self._validate_every is not None:
            self._log_now(self._validate(0), 0)

    def on_draw(self, step: int, examples: list[tuple[int, int]]) -> None:
        """Count a step's mixture and write down its examples."""
        self._probability_sum += self.probabilities()
        drawn = {dataset for dataset, _ in examples}
        if len(drawn) == 1:
            self.status = f"drawn from {self._names[drawn.pop()]}"
        else:
            shares = sorted(self._named(self.probabilities()).items(), key=lambda item: -item[1])
            self.status = " ".join(f"{name} {share:.0%}" for name, share in shares[:5])
        if self._record is not None:
            subsets = list(self._data.train.values())
            self._record.examples(
                step,
                [(self._names[number], subsets[number].indices[i]) for number, i in examples],
            )

    def on_batch(self, datasets: list[int], batch: dict[str, Tensor]) -> None:
        """Note which dataset each row of the next micro-batch is from."""
        self._dataset_loss.begin(datasets, batch)

    def on_step_end(self, step: int) -> None:
        """Do, in this order: training losses, scorer update, held-out losses, logs."""
        self._step = step
        losses = self._dataset_loss.take()
        self._check_finite(step, losses)
        self._tokens += losses[:, 1]
        self._since_log += losses
        metrics: dict[str, float] = {}
        if self._scorer is not None and step % self._scorer.update_every == 0:
            metrics |= self._update(step)
        if self._validate_every is not None and (
            step % self._validate_every == 0 or step == self._total_steps
        ):
            metrics |= self._validate(step)
        if step % self._log_every == 0:
            metrics |= self._training_metrics()
        self._log_now(metrics, step)

    def finish(self) -> None:
        """Write the run's last event."""
        if self._record is not None:
            average = self._probability_sum / max(1, self._step)
            self._record.event(
                "end", self._step, average_probabilities=self._named(average), **self._counts()
            )
            self._record.close()

    def state_dict(self) -> dict[str, Any]:
        """Give the mixture's whole state: small, and the same on every rank."""
        return {
            "step": self._step,
            "sampler": self._sampler.state_dict(),
            "scorer": None if self._scorer is None else self._scorer.state_dict(),
            "reward": None if self._reward is None else self._reward.state_dict(),
            "probability_sum": self._probability_sum,
            "tokens": self._tokens,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            UserError: if datasets, scorer or reward differ from those of the saved run.
        """
        self._step = state["step"]
        self._sampler.load_state_dict(state["sampler"])
        for key, part in (("scorer", self._scorer), ("reward", self._reward)):
            if (part is None) != (state[key] is None):
                raise UserError(f"{key} is on in only one of the checkpoint and this config")
            if part is not None:
                try:
                    part.load_state_dict(state[key])
                except (KeyError, RuntimeError, ValueError) as error:
                    raise UserError(f"{key} differs from the checkpoint's: {error}") from error
        self._probability_sum = state["probability_sum"]
        self._tokens = state["tokens"]

    def _update(self, step: int) -> dict[str, float]:
        assert self._scorer is not None and self._reward is not None
        started = time.perf_counter()
        update = step // self._scorer.update_every
        probes = self._probes(self._data.train, self._probe_indices(update))
        with measuring(self._model):
            raw, smoothed = self._reward.update(self._model, probes)
        self._scorer.update(smoothed)
        probabilities = self._scorer.probabilities()
        check_ranks_agree(
            torch.cat([smoothed, probabilities]), probes.device, "rewards or probabilities"
        )
        if self._record is not None:
            self._record.event(
                "update",
                step,
                probabilities=self._named(probabilities),
                rewards=self._named(smoothed),
                raw_rewards=self._named(raw),
                **self._counts(),
                seconds=time.perf_counter() - started,
            )
        return self._metrics("mixture/reward", smoothed)

    def _probe_indices(self, update: int) -> dict[str, list[int]]:
        assert self._reward is not None
        return {
            name: probe_indices(
                size, self._reward.batch_size, seed=self._seed, name=name, update=update
            ).tolist()
            for name, size in self._sampler.sizes.items()
        }

    def _validate(self, step: int) -> dict[str, float]:
        assert self._data.held_out is not None
        indices = {name: range(len(subset)) for name, subset in self._data.held_out.items()}

        def loss_and_count(batch: ProbeBatch) -> Tensor:
            total, count = response_log_likelihood(self._model, batch.tokens, batch.labels)
            return torch.stack([-total, count], dim=1)

        with measuring(self._model):
            totals = self._probes(self._data.held_out, indices).sum(loss_and_count)
        losses = totals[:, 0] / totals[:, 1]
        mean = float(losses.mean())
        if self._record is not None:
            self._record.event("validation", step, losses=self._named(losses), mean=mean)
        return self._metrics("val_loss", losses) | {"val_loss_mean": mean}

    def _training_metrics(self) -> dict[str, float]:
        loss, tokens = self._since_log.unbind(dim=1)
        losses = self._metrics("loss", loss / tokens)
        epochs = {f"mixture/epochs/{name}": n for name, n in self._sampler.epochs.items()}
        self._since_log.zero_()
        # A dataset of which nothing was drawn has no loss: 0 / 0.
        return (
            {key: value for key, value in losses.items() if value == value}
            | self._metrics("mixture/probability", self.probabilities())
            | epochs
        )

    def _check_finite(self, step: int, losses: Tensor) -> None:
        for name, (loss, tokens) in zip(self._names, losses.tolist(), strict=True):
            if not torch.isfinite(torch.tensor(loss)):
                raise UserError(
                    f"the training loss of dataset.{name} is {loss} at step {step}; training stops, "
                    "and nothing is written over. Is optimizer.lr too high?"
                )
        if losses[:, 1].sum() == 0:
            raise UserError(
                f"no example drawn at step {step} has a response token; examples drawn so far: "
                f"{self._sampler.examples}"
            )

    def _counts(self) -> dict[str, Any]:
        return {
            "examples": self._sampler.examples,
            "response_tokens": self._named(self._tokens),
            "epochs": self._sampler.epochs,
        }

    def _named(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self._names, values.tolist(), strict=True))

    def _metrics(self, prefix: str, values: Tensor) -> dict[str, float]:
        return {f"{prefix}/{name}": value for name, value in self._named(values).items()}

    def _log_now(self, metrics: dict[str, float], step: int) -> None:
        if self._log is not None and metrics:
            self._log(metrics, step)
