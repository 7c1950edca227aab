# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The part of a recipe that saves, resumes and stops between two optimizer steps."""

import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from omegaconf import DictConfig
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from mos_tune.checkpoint.manager import StepCheckpoints
from mos_tune.checkpoint.shards import SavedStep
from mos_tune.components import is_off
from mos_tune.distributed import get_world_size_and_rank, log_rank_zero
from mos_tune.endings import RESUMABLE
from mos_tune.mixture import MixtureLoader
from mos_tune.training.preemption import Preemption
from mos_tune.training.run_plan import RecipePlan


class StepCheckpointRecipe:
    """Save model, optimizer and mixture every so many steps, and find them again.

    With the config's ``checkpoint`` null, all of this does nothing.
    """

    # Set by every stock recipe, and by the mixture's before a step is saved.
    global_step: int
    _model: nn.Module
    _dataloader: MixtureLoader
    _optimizer_in_bwd = False  # the LoRA recipes have no such option
    _optimizer: Any
    _optim_ckpt_wrapper: Any
    _controller: Any
    _plan: RecipePlan
    _timeout: timedelta

    _checkpoints: StepCheckpoints | None = None
    _saved_step: SavedStep | None = None
    preemption: Preemption | None = None

    @staticmethod
    def _stock_config(cfg: DictConfig) -> DictConfig:
        """Make the stock recipe load theta_0 and look for no checkpoint of its own."""
        if cfg.get("checkpoint") is not None:
            cfg = cfg.copy()
            cfg.resume_from_checkpoint = False
        return cfg

    def _find_checkpoint(self, cfg: DictConfig) -> dict[str, Any] | None:
        """Give the mixture's state of the step to go on from; none if nothing was saved."""
        if cfg.get("checkpoint") is None:
            return None
        folder = Path(cfg.output_dir) / "checkpoints"
        self._checkpoints = StepCheckpoints(folder, cfg.checkpoint.keep_last, self._timeout)
        self._checkpoints.check_shared()
        if not cfg.resume_from_checkpoint:
            self._checkpoints.refuse_leftovers()
            return None
        self._saved_step = self._checkpoints.newest()
        return None if self._saved_step is None else self._saved_step.mixture

    def _load_checkpoint(self, cfg: DictConfig) -> int:
        """Load model and optimizer in place of theta_0 and the fresh one, and give the step."""
        assert self._checkpoints is not None and self._saved_step is not None
        # What the config says of the optimizer counts; all else goes on as it was.
        chosen = {*cfg.optimizer, "lr", "initial_lr"}
        self._checkpoints.load(self._saved_step, self._model, self._optimizers(), chosen)
        log_rank_zero(f"Going on from {self._saved_step.folder}")
        return self._saved_step.mixture["step"]

    def _save_checkpoint(self, step: int, is_last: bool, cfg: DictConfig) -> None:
        """Save where the config wants it, at the end of the run, and to stop after this step."""
        if self._checkpoints is None or self.preemption is None:
            return
        stop = self.preemption.agreed()
        if stop or is_last or step % cfg.checkpoint.every_n_steps == 0:
            mixture = self._controller.state_dict()
            self._checkpoints.save(step, self._model, self._optimizers(), mixture)
        if stop:
            self._checkpoints.wait()
            if get_world_size_and_rank()[1] == 0:
                print(
                    f"\nmos-tune stopped by SIGTERM after step {step}, which is saved",
                    file=sys.stderr,
                )
            self._end_stock()  # and no more than that: the run has not ended
            # Python's exit puts back the default action, by which another signal would kill.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            sys.exit(RESUMABLE)

    def _end_stock(self) -> None:
        """Clean up as the stock recipe does, and the process group that some know nothing of."""
        # mypy cannot see the stock recipe, which comes later among the bases.
        super().cleanup()  # type: ignore[misc]
        if dist.is_initialized():
            dist.destroy_process_group()

    def _finish_checkpoints(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.wait()

    def _optimizers(self) -> list[Any]:
        if self._optimizer_in_bwd:
            return list(self._optim_ckpt_wrapper.optim_map.values())
        return [self._optimizer]

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
        # mypy cannot see the stock recipe, which comes later among the bases.
        scheduler = super()._setup_lr_scheduler(  # type: ignore[misc]
            cfg_lr_scheduler, num_training_steps, self.global_step - 1
        )
        if scheduler is not None and self.global_step > 0:
            # In backward there are many optimizers, and the schedule was made with the first.
            for group in groups:
                group["lr"] = scheduler.get_last_lr()[0]
        return scheduler
