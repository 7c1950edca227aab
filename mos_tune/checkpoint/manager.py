# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Checkpoints between two optimizer steps: sharded, written while training goes on."""

import copy
import os
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
)
from torch.optim import Optimizer

from mos_tune import __version__
from mos_tune.checkpoint.folder import (
    fingerprint,
    newest_undamaged,
    publish,
    refuse_leftovers,
    remove_older,
)
from mos_tune.checkpoint.shards import STATE, TRAINED, SavedStep, load_shards, reason_of
from mos_tune.checkpoint.shared import appears, check_shared
from mos_tune.distributed import gather, get_world_size_and_rank
from mos_tune.errors import UserError


class StepCheckpoints:
    """Save, find and load ``step_N`` folders; every method is called on all ranks alike.

    Every rank writes its own shard of model and optimizer. A save copies the shard to the CPU and
    returns; a thread writes it to ``step_N.partial``, and only when all ranks have written does
    rank 0 add the manifest and take the suffix away. So a folder called ``step_N`` is complete.

    Args:
        folder (Path): where the checkpoints are, on a file system that all ranks share.
        keep_last (int): complete checkpoints to keep; older ones are deleted.
        timeout (timedelta | None): how long a rank waits for the slowest to write or read. Default
            None: gloo's half an hour.
    """

    def __init__(self, folder: Path, keep_last: int, timeout: timedelta | None = None) -> None:
        self._folder = folder
        self._keep_last = keep_last
        self._world_size, self._rank = get_world_size_and_rank()
        # A group of its own, so that the writing thread never meets training's collectives.
        self._group = dist.new_group(backend="gloo", timeout=timeout)
        self._writer: threading.Thread | None = None
        self._error: str | None = None
        self._lost_contact: RuntimeError | None = None

    def check_shared(self) -> None:
        """Make sure that all ranks have one folder before anything is written there.

        Raises:
            UserError: on every rank, naming one that does not see what rank 0 writes.
        """
        check_shared(self._folder.parent, self._group)

    def newest(self) -> SavedStep | None:
        """Read the newest undamaged checkpoint's small part; None if none was ever completed.

        Raises:
            UserError: if there are checkpoints and all are damaged.
        """
        folder = newest_undamaged(self._folder, self._group)
        return None if folder is None else SavedStep.read(folder)

    def refuse_leftovers(self) -> None:
        """Make sure that a fresh start cannot be taken for a run that was here before.

        Raises:
            UserError: if there is a complete checkpoint.
        """
        refuse_leftovers(self._folder, self._group)

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        mixture: Mapping[str, Any],
    ) -> None:
        """Copy everything now and write it while training goes on.

        Waits for the save before this one.

        Args:
            step (int): optimizer steps made.
            model (nn.Module): the model, sharded by FSDP2.
            optimizers (Sequence[Optimizer]): its optimizer, or all of them with
                ``optimizer_in_bwd``.
            mixture (Mapping[str, Any]): the mixture's state, the same on every rank.

        Raises:
            UserError: if the save before this one failed.
        """
        self.wait()
        shards = {
            "model": _copy(get_model_state_dict(model, options=TRAINED)),
            "optimizer": _copy(get_optimizer_state_dict(model, optimizers)["state"]),
        }
        kinds = [{"kind": type(one).__name__, "groups": _groups(one)} for one in optimizers]
        state = copy.deepcopy({"mixture": dict(mixture), "optimizers": kinds})
        # A new thread would be on the first GPU, whichever is this rank's.
        gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None
        # A daemon: when training fails, a half-written checkpoint must not hold up the exit.
        self._writer = threading.Thread(
            target=self._write, args=(step, shards, state, gpu), daemon=True
        )
        self._writer.start()

    def wait(self) -> None:
        """Wait until the save under way is complete.

        Raises:
            UserError: on every rank, if it failed.
            RuntimeError: if another rank is gone.
        """
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._lost_contact is not None:
            raise self._lost_contact
        if self._error is not None:
            raise UserError(self._error)

    def load(
        self,
        saved: SavedStep,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        chosen: Collection[str],
    ) -> None:
        """Load model and optimizers in place; arguments as in :func:`load_shards`."""
        load_shards(saved, model, optimizers, chosen, self._group)

    def _write(
        self, step: int, shards: dict[str, Any], state: dict[str, Any], gpu: int | None
    ) -> None:
        final = self._folder / f"step_{step}"
        partial = final.with_name(f"{final.name}.partial")
        files: dict[str, Any] = {}
        error: str | None = None
        try:
            if gpu is not None:
                torch.cuda.set_device(gpu)
            writer = dcp.FileSystemWriter(partial, overwrite=True)
            dcp.save(shards, storage_writer=writer, process_group=self._group)
            mine = sorted(partial.glob(f"__{self._rank}_*"))
            if self._rank == 0:
                _write_synced(state, partial / STATE)
                mine += [partial / STATE, partial / ".metadata"]
            files = {path.name: fingerprint(path) for path in mine}
        except BaseException as reason:  # what torch raises here is no Exception
            error = reason_of(reason)
        try:
            # No rank may be left waiting here, whatever happened to it above.
            ranks = gather((files, error), self._group)
            error = next((error for _, error in ranks if error is not None), None)
            if self._rank == 0:
                error = error or self._complete(step, partial, final, [part for part, _ in ranks])
                if error is not None:
                    shutil.rmtree(partial, ignore_errors=True)
            error = gather(error, self._group)[0]
        except RuntimeError as reason:  # training meets the same, and says so
            self._lost_contact = reason
            return
        if error is not None:
            self._error = f"{final} could not be written: {error}; the checkpoints before it stay"

    def _complete(
        self, step: int, partial: Path, final: Path, files: list[dict[str, Any]]
    ) -> str | None:
        versions = {"torch": torch.__version__, "mos_tune": __version__}
        everything = {name: file for part in files for name, file in part.items()}
        for rank, part in enumerate(files):
            for name in part:
                if not appears(partial / name):
                    return f"rank 0 does not see {name}, which rank {rank} has written"
        try:
            publish(partial, final, everything, step=step, world_size=self._world_size, **versions)
            remove_older(self._folder, self._keep_last)
        except OSError as reason:
            return reason_of(reason)
        return None


def _copy(value: Any) -> Any:
    """Copy tensors to the CPU and all else as it is: training goes on with the originals."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy(part) for key, part in value.items()}
    return copy.deepcopy(value)


def _groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def _write_synced(state: Any, path: Path) -> None:
    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
