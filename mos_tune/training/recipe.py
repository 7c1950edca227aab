# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The mixin that gives a stock finetuning recipe a learned mixture."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torchtune import training
from torchtune.config._utils import _get_component_from_path

from mos_tune.data.packing import collate_sequences
from mos_tune.distributed import get_world_size_and_rank, log_rank_zero
from mos_tune.errors import UserError
from mos_tune.learning import DatasetLosses, MixtureController, check_resumes
from mos_tune.metrics.record import MixtureRecord
from mos_tune.mixture import MixtureLoader
from mos_tune.training.base_model import BaseModelRecipe
from mos_tune.training.config import check_config
from mos_tune.training.export import finish_exports
from mos_tune.training.preemption import Preemption
from mos_tune.training.process_group import TIMEOUT_SECONDS, join_process_group
from mos_tune.training.progress import show_mixture
from mos_tune.training.run_plan import plan_run
from mos_tune.training.step_checkpoint_recipe import StepCheckpointRecipe


class MixtureRecipe(BaseModelRecipe, StepCheckpointRecipe):
    """Put before a stock recipe class: ``class Mine(MixtureRecipe, stock.SomeRecipe)``.

    The stock ``train()`` stays as it is. It asks for data in one place, and our loader is what it
    asks; all that the mixture needs happens there, between two steps.

    Attributes:
        stock (ModuleType): the private copy of the stock recipe's module, to be set by the
            subclass.
        single_device (bool): True where the stock recipe knows one process only. Default False.
    """

    stock: ModuleType
    single_device = False

    # A mixin calls super() of a class that is known only when torchtune is loaded, so mypy cannot
    # see it; load_stock_recipe has checked that these methods are there. Hence the ignores below.

    # Set by every stock recipe before it asks for data.
    seed: int
    epochs_run: int
    total_epochs: int
    _device: torch.device
    _resume_from_checkpoint: bool
    _loss_fn: Any
    _tokenizer: Any
    _metric_logger: Any
    _log_every_n_steps: int
    _gradient_accumulation_steps: int

    def __init__(self, cfg: DictConfig) -> None:
        check_config(cfg)
        if cfg.get("checkpoint") is not None:
            self.preemption = Preemption()
        self._timeout = timedelta(seconds=cfg.get("timeout_seconds", TIMEOUT_SECONDS))
        join_process_group(cfg, self.stock, single_device=self.single_device, timeout=self._timeout)
        try:
            super().__init__(cfg=self._stock_config(cfg))  # type: ignore[call-arg]
        except torch.distributed.DistError:
            raise
        except (RuntimeError, ValueError) as error:
            # What else the stock recipes raise here is about options that do not go together.
            raise UserError(str(error)) from error
        # The stock loop breaks at this number, before our loader can end the epoch's last step. The
        # loader itself ends the epoch instead.
        self.max_steps_per_epoch: int | None = None
        self._saved_mixture: dict[str, Any] | None = None

    def setup(self, cfg: DictConfig) -> None:
        """Build and check all of the mixture, then let the stock recipe load the model.

        Args:
            cfg (DictConfig): the run's config.

        Raises:
            UserError: for anything wrong with datasets, sampler, scorer, reward or files.
        """
        # Adapters start from the global generator, as they would without a mixture.
        with torch.random.fork_rng(devices=[]):
            self._plan = plan_run(
                cfg,
                seed=self.seed,
                epochs=self.total_epochs,
                resume=self._resume_from_checkpoint,
            )
        self.total_epochs = self._plan.epochs
        self._cfg = cfg
        self._saved_mixture = self._find_checkpoint(cfg)
        if self._saved_mixture is not None:
            check_resumes(self._plan, self._saved_mixture, may_be_longer=True)
        # The stock LoRA recipes read this key in any case.
        with_schedule = OmegaConf.merge({"lr_scheduler": None}, cfg)
        try:
            super().setup(cfg=with_schedule)  # type: ignore[misc]
        except OSError as error:  # a logger's folder, for example; it names the file
            raise UserError(f"{type(error).__name__}: {error}") from error
        if self._saved_mixture is None:
            self._controller.start()
        if self.preemption is not None:
            self.preemption.defer(self._timeout)

    def _update_recipe_state(self, ckpt_dict: dict[str, Any]) -> None:
        saved_seed = ckpt_dict.get(training.SEED_KEY)
        if saved_seed != self.seed:
            # The stock recipe would go on with the saved one, but the datasets are split already.
            raise UserError(f"seed is {self.seed}, the checkpoint has {saved_seed}")
        super()._update_recipe_state(ckpt_dict)  # type: ignore[misc]
        self._saved_mixture = ckpt_dict.get(training.DATALOADER_KEY)
        if self._saved_mixture is None or "packing" not in self._saved_mixture:
            raise UserError(
                "the checkpoint to resume from holds no mixture that this version of mos-tune wrote"
            )
        check_resumes(self._plan, self._saved_mixture, may_be_longer=False)

    def _setup_data(
        self,
        cfg_dataset: DictConfig,
        shuffle: bool,
        batch_size: int,
        collate_fn: str,
        dataloader_state_dict: dict[str, Any] | None = None,
    ) -> MixtureLoader:
        """Give the stock loop the mixture's loader; arguments as in the stock recipe."""
        cfg = self._cfg
        world_size, rank = get_world_size_and_rank()
        ignore_index = self._loss_fn.ignore_index
        collate = partial(
            _get_component_from_path(collate_fn),
            padding_idx=self._tokenizer.pad_id,
            ignore_idx=ignore_index,
        )
        plan = self._plan
        record = MixtureRecord(
            plan.sampler.names,
            Path(cfg.output_dir),
            self._metric_logger.log_dict if rank == 0 else None,
            log_examples=cfg.get("log_examples", False),
        )
        losses = DatasetLosses(
            len(plan.sampler.names), ignore_index=ignore_index, device=self._device
        )
        losses.watch(self._loss_fn)
        self._controller = MixtureController(
            self._model,
            plan,
            losses=losses,
            record=record,
            collate=collate,
            batch_size=batch_size,
            device=self._device,
            validate_every=None if cfg.get("validation") is None else cfg.validation.every_n_steps,
            log_every=self._log_every_n_steps,
            after_step=lambda step: self._save_checkpoint(step, step == plan.total_steps, cfg),
        )
        step = self.epochs_run * plan.steps_per_epoch
        if self._saved_mixture is not None:
            self._controller.resume(
                self._saved_mixture, model_is_untouched=self._saved_step is not None
            )
        if self._saved_step is not None:
            step = self._load_checkpoint(cfg)
            # From the last step of an epoch we go on with its export, which may not have happened.
            self.epochs_run = (step - 1) // plan.steps_per_epoch
        finish_exports(getattr(self, "_checkpoint_client", self), cfg.checkpointer.output_dir)
        show_mixture(
            self.stock,
            lambda: self._controller.status,
            self._steps_of_epoch,
        )
        return MixtureLoader(
            list(plan.sequences.values()),
            plan.sampler,
            self._controller,
            collate=partial(
                collate_sequences,
                collate_examples=collate,
                pack_size=getattr(self._tokenizer, "max_seq_len", None),
                padding_idx=self._tokenizer.pad_id,
                ignore_idx=ignore_index,
                device=self._device,
            ),
            batch_size=batch_size,
            accumulation_steps=self._gradient_accumulation_steps,
            steps_per_epoch=plan.steps_per_epoch,
            total_steps=plan.total_steps,
            step=step,
            epoch=self.epochs_run,
            rank=rank,
            world_size=world_size,
        )

    def _steps_of_epoch(self) -> tuple[int, int]:
        start = self.epochs_run * self._plan.steps_per_epoch
        end = min(start + self._plan.steps_per_epoch, self._plan.total_steps)
        return self._dataloader.step - start, end - start

    def cleanup(self) -> None:
        """End the record, draw the picture, and clean up as the stock recipe does."""
        self._finish_checkpoints()
        self._controller.finish()
        if self._plan.ends_early:
            log_rank_zero(self._plan.ends_early)
        self._end_stock()
