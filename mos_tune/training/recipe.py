# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The mixin that gives a stock finetuning recipe a learned mixture."""

import signal
import sys
from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torchtune import training
from torchtune.config._utils import _get_component_from_path

from mos_tune.components import is_off
from mos_tune.data.packing import collate_sequences
from mos_tune.distributed import get_world_size_and_rank, log_rank_zero
from mos_tune.endings import RESUMABLE
from mos_tune.errors import UserError
from mos_tune.learning import DatasetLosses, MixtureController, check_resumes
from mos_tune.metrics import MixtureRecord
from mos_tune.mixture import MixtureLoader
from mos_tune.training.base_model import check_finite, reason_of_misfit
from mos_tune.training.config import check_config
from mos_tune.training.export import finish_exports
from mos_tune.training.loggers import MetricLogger
from mos_tune.training.output_folder import OutputFolder
from mos_tune.training.preemption import set_all
from mos_tune.training.process_group import join_process_group
from mos_tune.training.run_plan import check_output_dir, plan_run
from mos_tune.training.step_saving import StepSaving
from mos_tune.training.stock import show_mixture


class MixtureRecipe:
    """Put before a stock recipe class: ``class Mine(MixtureRecipe, stock.SomeRecipe)``.

    The stock ``train()`` stays as it is. It asks for data in one place, and our loader is what it
    asks; all that the mixture needs happens there, between two steps.

    Attributes:
        stock (ModuleType): the private copy of the stock recipe's module, to be set by the
            subclass.
        single_device (bool): True where the stock recipe knows one process only. Default False.
        further_keys (Collection[str]): top-level keys of the config that a subclass reads. Default:
            none; others than torchtune's and our own are refused.
    """

    stock: ModuleType
    single_device = False
    further_keys: Collection[str] = ()

    # A mixin calls super() of a class that is known only when torchtune is loaded, so mypy cannot
    # see it; load_stock_recipe has checked that these methods are there. Hence the ignores below.

    # Set by every stock recipe before it asks for data.
    seed: int
    epochs_run: int
    total_epochs: int
    _model: nn.Module
    _device: torch.device
    _resume_from_checkpoint: bool
    _loss_fn: Any
    _tokenizer: Any
    _log_every_n_steps: int
    _gradient_accumulation_steps: int
    _optimizer: Any
    _optim_ckpt_wrapper: Any
    _optimizer_in_bwd = False  # the LoRA recipes have no such option

    # Set here.
    global_step: int
    _dataloader: MixtureLoader

    def __init__(self, cfg: DictConfig) -> None:
        self._sections = check_config(cfg, self.further_keys)
        timeout = timedelta(seconds=self._sections.timeout_seconds)
        self._saving: StepSaving | None = None
        if self._sections.checkpoint is not None:
            self._saving = StepSaving(self._sections.checkpoint, Path(cfg.output_dir), timeout)
            # The stock recipe is to load theta_0, and to look for no checkpoint of its own.
            cfg = cfg.copy()
            cfg.resume_from_checkpoint = False
        join_process_group(cfg, self.stock, single_device=self.single_device, timeout=timeout)
        try:
            super().__init__(cfg=cfg)  # type: ignore[call-arg]
        except dist.DistError:
            raise
        except (RuntimeError, ValueError) as error:
            # What else the stock recipes raise here is about options that do not go together.
            raise UserError(str(error)) from error
        # The stock loop breaks at this number, before our loader can end the epoch's last step. The
        # loader itself ends the epoch instead.
        self.max_steps_per_epoch: int | None = None
        self._saved: Mapping[str, Any] | None = None
        self._logger: MetricLogger | None = None

    @property
    def _metric_logger(self) -> Any:
        return self._logger

    @_metric_logger.setter
    def _metric_logger(self, logger: Any) -> None:  # by the stock recipe
        self._logger = MetricLogger(logger)

    @property
    def was_asked_to_stop(self) -> bool:
        """Whether this process has got the signal to stop."""
        return self._saving is not None and self._saving.preemption.asked is not None

    def setup(self, cfg: DictConfig) -> None:
        """Build and check all of the mixture, then let the stock recipe load the model.

        Args:
            cfg (DictConfig): the run's config.

        Raises:
            UserError: for anything wrong with datasets, sampler, scorer, reward or files, or if
                another run is in ``output_dir``.
        """
        check_output_dir(cfg.output_dir)
        self._output = OutputFolder(cfg, self._sections)
        self._output.enter()
        try:
            self._set_up(cfg)
        except BaseException:
            self._output.finish()
            raise

    def _set_up(self, cfg: DictConfig) -> None:
        # Adapters start from the global generator, as they would without a mixture.
        with torch.random.fork_rng(devices=[]):
            self._plan = plan_run(
                cfg,
                self._sections,
                seed=self.seed,
                epochs=self.total_epochs,
                resume=self._resume_from_checkpoint,
            )
        self.total_epochs = self._plan.epochs
        self._cfg = cfg
        if self._saving is not None:
            self._saving.open()
        self._output.begin(self._plan.epochs)
        if self._saving is not None:
            self._saved = self._saving.find(resume=cfg.resume_from_checkpoint)
        if self._saved is not None:
            check_resumes(self._plan, self._saved, may_be_longer=True)
        # The stock LoRA recipes read this key in any case.
        with_schedule = OmegaConf.merge({"lr_scheduler": None}, cfg)
        try:
            super().setup(cfg=with_schedule)  # type: ignore[misc]
        except UserError:
            raise
        except Exception as error:  # a logger may raise anything
            said = f"{type(error).__name__}: {' '.join(str(error).split())}"
            # It is what the stock recipe makes first.
            if self._logger is None and get_world_size_and_rank()[1] == 0:
                path = cfg.metric_logger["_component_"]
                raise UserError(f"metric_logger {path} cannot start: {said}") from error
            if isinstance(error, OSError):  # it names the file
                raise UserError(said) from error
            raise
        if self._saved is None:
            self._controller.start()
        if self._saving is not None:
            self._saving.begin()

    def _update_recipe_state(self, ckpt_dict: dict[str, Any]) -> None:
        saved_seed = ckpt_dict.get(training.SEED_KEY)
        if saved_seed != self.seed:
            # The stock recipe would take the saved one, but the datasets are split already.
            raise UserError(f"seed is {self.seed}, the checkpoint has {saved_seed}")
        super()._update_recipe_state(ckpt_dict)  # type: ignore[misc]
        self._saved = ckpt_dict.get(training.DATALOADER_KEY)
        if self._saved is None or "packing" not in self._saved:
            raise UserError(
                "the checkpoint to resume from holds no mixture that this version of mos-tune wrote"
            )
        check_resumes(self._plan, self._saved, may_be_longer=False)

    def _setup_model(self, cfg_model: DictConfig, **options: Any) -> nn.Module:
        """Load the base model as the stock recipe does, and check its weights.

        Raises:
            UserError: on every rank, if the checkpoint does not fit or a weight is not finite.
        """
        try:
            model: nn.Module = super()._setup_model(cfg_model, **options)  # type: ignore[misc]
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, KeyError, AttributeError) as error:
            raise UserError(reason_of_misfit(cfg_model, error)) from error
        check_finite(model)
        return model

    def _setup_data(
        self,
        cfg_dataset: DictConfig,
        shuffle: bool,
        batch_size: int,
        collate_fn: str,
        dataloader_state_dict: dict[str, Any] | None = None,
    ) -> MixtureLoader:
        """Give the stock loop the mixture's loader; arguments as in the stock recipe."""
        collate_examples = partial(
            _get_component_from_path(collate_fn),
            padding_idx=self._tokenizer.pad_id,
            ignore_idx=self._loss_fn.ignore_index,
        )
        record = MixtureRecord(
            self._plan.sampler.names,
            Path(self._cfg.output_dir),
            self._metric_logger.log_dict if get_world_size_and_rank()[1] == 0 else None,
            log_examples=self._sections.log_examples,
        )
        self._controller = self._build_controller(record, collate_examples, batch_size)
        step = self._resume(record)
        self._patch_stock()
        return self._build_loader(collate_examples, batch_size, step)

    def _build_controller(
        self, record: MixtureRecord, collate: partial[Any], batch_size: int
    ) -> MixtureController:
        validation = self._sections.validation
        losses = DatasetLosses(
            len(self._plan.sampler.names),
            ignore_index=self._loss_fn.ignore_index,
            device=self._device,
        )
        losses.watch(self._loss_fn)
        return MixtureController(
            self._model,
            self._plan,
            losses=losses,
            record=record,
            collate=collate,
            batch_size=batch_size,
            device=self._device,
            validate_every=None if validation is None else validation.every_n_steps,
            log_every=self._log_every_n_steps,
            optimizer=self._optimizers()[0],
            after_step=self._after_step,
        )

    def _resume(self, record: MixtureRecord) -> int:
        """Load what was saved, and give the number of steps made."""
        if self._saved is None:
            return 0
        found = None if self._saving is None else self._saving.found
        self._controller.load_state_dict(self._saved, model_is_untouched=found is not None)
        step: int = self._saved["step"]
        # Not the number of epochs that were saved, which may have been of another length.
        self.epochs_run = step // self._plan.steps_per_epoch
        if self._saving is not None and found is not None:
            self._saving.load(self._model, self._optimizers(), self._cfg.optimizer)
            # From the last step of an epoch we resume with its export, which may not have happened.
            self.epochs_run = (step - 1) // self._plan.steps_per_epoch
        # Only now: had a weight not fitted, all that was written would still be there.
        record.truncate_after(step)
        return step

    def _patch_stock(self) -> None:
        finish_exports(getattr(self, "_checkpoint_client", self), self._cfg.checkpointer)
        show_mixture(self.stock, lambda: self._controller.status, self._steps_of_epoch)

    def _build_loader(self, collate: partial[Any], batch_size: int, step: int) -> MixtureLoader:
        return MixtureLoader(
            list(self._plan.sequences.values()),
            self._plan.sampler,
            self._controller,
            collate=partial(
                collate_sequences,
                collate_examples=collate,
                pack_size=getattr(self._tokenizer, "max_seq_len", None),
                padding_idx=self._tokenizer.pad_id,
                ignore_idx=self._loss_fn.ignore_index,
                device=self._device,
            ),
            batch_size=batch_size,
            accumulation_steps=self._gradient_accumulation_steps,
            steps_per_epoch=self._plan.steps_per_epoch,
            total_steps=self._plan.total_steps,
            step=step,
            epoch=self.epochs_run,
        )

    def _setup_lr_scheduler(
        self, cfg_lr_scheduler: DictConfig | None, num_training_steps: int, last_epoch: int
    ) -> Any:
        """Start the schedule, and the count of steps, where the loader starts.

        The stock recipe knows whole epochs only. A schedule is a function of the step, so there is
        no state of it to load, and another learning rate or number of steps takes effect at once.
        """
        self.global_step = self._dataloader.step
        groups = [group for optimizer in self._optimizers() for group in optimizer.param_groups]
        if self.global_step > 0:
            for group in groups:
                group.setdefault("initial_lr", group["lr"])
        if is_off(cfg_lr_scheduler):
            # The stock LoRA loops step a schedule in any case.
            return None if self._optimizer_in_bwd else LambdaLR(self._optimizer, lambda step: 1.0)
        # The stock recipe counts whole epochs here, too, and the last one may be shorter.
        num_training_steps = self._plan.total_steps
        scheduler = super()._setup_lr_scheduler(  # type: ignore[misc]
            cfg_lr_scheduler, num_training_steps, self.global_step - 1
        )
        if scheduler is not None and self.global_step > 0:
            # In backward there are many optimizers, and the schedule was made with the first.
            for group in groups:
                group["lr"] = scheduler.get_last_lr()[0]
        return scheduler

    def _after_step(self, step: int) -> None:
        """Save the step if it is time, and end here if the run is asked to stop."""
        if self._output.is_lost:
            raise UserError(
                f"after step {step}, another run has taken output_dir {self._cfg.output_dir}, for "
                "this one has been silent for too long"
            )
        if self._saving is None:
            return
        mixture = self._controller.state_dict
        is_last = step == self._plan.total_steps
        asked = self._saving.save(step, self._model, self._optimizers(), mixture, is_last=is_last)
        if asked is not None:
            if get_world_size_and_rank()[1] == 0:
                said = f"mos-tune stopped by {asked.name} after step {step}, which is saved"
                print(f"\n{said}", file=sys.stderr)
            self._end_stock()  # and no more than that: the run has not ended
            # Python's exit puts back the default action, by which another signal would kill.
            set_all(signal.SIG_IGN)
            sys.exit(RESUMABLE)

    def cleanup(self) -> None:
        """End the record, draw the picture, and clean up as the stock recipe does."""
        if self._saving is not None:
            self._saving.wait()
        self._controller.finish()
        if self._plan.ends_early:
            log_rank_zero(self._plan.ends_early)
        self._output.finish()
        self._end_stock()

    def _end_stock(self) -> None:
        """Clean up as the stock recipe does, and the process group that some know nothing of."""
        super().cleanup()  # type: ignore[misc]
        if dist.is_initialized():
            dist.destroy_process_group()

    def _optimizers(self) -> list[Any]:
        if self._optimizer_in_bwd:
            return list(self._optim_ckpt_wrapper.optim_map.values())
        return [self._optimizer]

    def _steps_of_epoch(self) -> tuple[int, int]:
        start = self.epochs_run * self._plan.steps_per_epoch
        end = min(start + self._plan.steps_per_epoch, self._plan.total_steps)
        return self._dataloader.step - start, end - start
