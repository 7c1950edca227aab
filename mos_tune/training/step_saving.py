# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""What is saved between two optimizer steps, found again at a start, and saved to stop."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from signal import Signals
from typing import Any

from torch import nn
from torch.optim import Optimizer

from mos_tune.checkpoint import SavedStep, StepCheckpoints
from mos_tune.distributed import log_rank_zero
from mos_tune.sections import CheckpointSection
from mos_tune.training.preemption import Preemption


class StepSaving:
    """Save model, optimizer and mixture every so many steps, and find them again.

    From its making on, SIGTERM, SIGINT and SIGHUP are wishes to stop; all else is called on all
    ranks alike, once there is a process group.

    Args:
        section (CheckpointSection): the config's.
        output_dir (Path): the checkpoints are in ``checkpoints`` there.
        timeout (timedelta): how long ranks wait for each other.

    Attributes:
        preemption (Preemption): whether the run is asked to stop.
        found (SavedStep | None): the checkpoint to resume from.
    """

    def __init__(self, section: CheckpointSection, output_dir: Path, timeout: timedelta) -> None:
        self.preemption = Preemption()
        self.found: SavedStep | None = None
        self._section = section
        self._folder = output_dir / "checkpoints"
        self._timeout = timeout

    def open(self) -> None:
        """Make sure that all ranks have one folder.

        Raises:
            UserError: on every rank, naming one that has not.
        """
        self._checkpoints = StepCheckpoints(self._folder, self._section.keep_last, self._timeout)
        self._checkpoints.check_shared()

    def find(self, *, resume: bool) -> Mapping[str, Any] | None:
        """Find the newest undamaged checkpoint, if the run may resume from it.

        Returns:
            Mapping[str, Any] | None: the mixture's state in it; None if nothing was saved.

        Raises:
            UserError: if all are damaged, or a fresh start finds any.
        """
        if not resume:
            self._checkpoints.refuse_leftovers()
            return None
        self.found = self._checkpoints.newest()
        return None if self.found is None else self.found.mixture

    def load(
        self, model: nn.Module, optimizers: Sequence[Optimizer], options: Mapping[str, Any]
    ) -> None:
        """Load what was found in place of theta_0 and the fresh optimizer.

        Args:
            model (nn.Module): theta_0.
            optimizers (Sequence[Optimizer]): its optimizer, or all with ``optimizer_in_bwd``.
            options (Mapping[str, Any]): the config's ``optimizer``: what it says counts, all else
                stays as it was.
        """
        assert self.found is not None
        self._checkpoints.load(self.found, model, optimizers, {*options, "lr", "initial_lr"})
        log_rank_zero(f"Resuming from {self.found.folder}")

    def begin(self) -> None:
        """Stop only between two steps from now on."""
        self.preemption.defer(self._timeout)

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        mixture: Callable[[], Mapping[str, Any]],
        *,
        is_last: bool,
    ) -> Signals | None:
        """Save if it is time, at the end of the run, and to stop after this step.

        Args:
            step (int): optimizer steps made.
            model (nn.Module): as it is now.
            optimizers (Sequence[Optimizer]): as in :meth:`load`.
            mixture (Callable[[], Mapping[str, Any]]): gives the mixture's state.
            is_last (bool): whether the run ends with this step.

        Returns:
            Signals | None: the signal to stop, if there was one; all is saved then.
        """
        asked = self.preemption.agreed()
        if asked is not None or is_last or step % self._section.every_n_steps == 0:
            self._checkpoints.save(step, model, optimizers, mixture())
        if asked is not None:
            self.wait()
        return asked

    def wait(self) -> None:
        """Wait until the save under way is complete.

        Raises:
            UserError: if it failed.
        """
        self._checkpoints.wait()
