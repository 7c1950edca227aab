# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Components to build from a config."""

import os
import resource
import signal
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout
from torch.optim import AdamW
from torchtune.datasets import PackedDataset
from torchtune.training import FullModelHFCheckpointer
from torchtune.training.metric_logging import DiskLogger

from mos_tune.datasets import skill_dataset
from mos_tune.errors import UserError
from mos_tune.rewards import DifficultyReward


def picky(names, *, size=3, seed):
    if size > 9:
        raise UserError(f"size must be at most 9, got {size}")
    return names, size, seed


def open_ended(names, **options):
    raise OSError(f"no file {options['file']}")


def causing():
    raise RuntimeError("in short") from OSError("disk gone")


def rows_dataset(tokenizer, *, rows):
    return rows


class _DeadlyRows:
    """Kill the process that reads a row once a file has more than its first line."""

    def __init__(self, rows, file: str):
        self._rows, self._file = rows, Path(file)

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        if self._file.exists() and self._file.read_bytes().count(b"\n") > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._rows[index]


def deadly_skill_dataset(tokenizer, *, file, **options):
    return _DeadlyRows(skill_dataset(tokenizer, **options), file)


def packs_dataset(tokenizer):
    return PackedDataset([{"tokens": [1, 9], "labels": [1, 9]}] * 3, max_seq_len=4)


class DivergingReward(DifficultyReward):
    """Measures a little more on rank 1, as one would that forgets the examples of the others."""

    def measure(self, model, probes):
        return super().measure(model, probes) * (1 + 1e-3 * int(os.environ["RANK"]))


class FullDiskLogger(DiskLogger):
    """Make files longer than ``largest_file`` bytes fail, as on a full disk."""

    def __init__(self, *, largest_file: int, **options):
        super().__init__(**options)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))


class DyingLogger(DiskLogger):
    """Kill its process at a training step, once a file is there if one is named."""

    def __init__(self, *, die_at: int, after: str | None = None, **options):
        super().__init__(**options)
        self._die_at = die_at
        self._after = None if after is None else Path(after)

    def log_dict(self, payload, step):
        super().log_dict(payload, step)
        self._file.flush()
        if step == self._die_at and "loss" in payload:
            while self._after and not self._after.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)


def strike(fault: str, rank: int) -> None:
    """Do to the process with this rank, or to the launcher, what happens to machines."""
    if dist.get_rank() != rank or os.environ["TORCHELASTIC_RESTART_COUNT"] != "0":
        return
    launcher = int(os.environ["LAUNCHER_PID"])
    if fault == "hang":
        time.sleep(3600)
    elif fault == "kill":
        # What torchrun started, so that it knows before the other ranks do.
        os.kill(int(os.environ["STARTED_PID"]), signal.SIGKILL)
        time.sleep(3600)
    elif fault == "terminate":
        os.kill(os.getpid(), signal.SIGTERM)
    elif fault == "terminate launcher":
        terminate_and_wait(launcher)
    elif fault == "terminate all twice":
        workers = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        terminate_and_wait(*[launcher, *map(int, workers)] * 2)
    else:
        raise RuntimeError(fault)


def terminate_and_wait(*processes: int) -> None:
    """Return once the signal has been passed on, so that it comes right here and may end it."""
    handler = signal.getsignal(signal.SIGTERM)
    came = []

    def handle(*arguments):
        came.append(True)
        handler(*arguments)

    # Before the signal is sent: the launcher may pass it on at once.
    if callable(handler):
        signal.signal(signal.SIGTERM, handle)
    for process in processes:
        with suppress(ProcessLookupError):  # one that the first signal has ended
            os.kill(process, signal.SIGTERM)
    while not came:
        time.sleep(0.01)
    signal.signal(signal.SIGTERM, handler)


class FaultyAdamW(AdamW):
    """A fault in the middle of this process's step ``at``."""

    def __init__(self, params, *, fault=None, at=0, rank=0, **options):
        super().__init__(params, **options)
        self._fault, self._left, self._rank = fault, at, rank

    def step(self, closure=None):
        self._left -= 1
        if self._left == 0:
            strike(self._fault, self._rank)
            if self._fault == "hang":
                # Short from here on alone: until now, a slow rank is no silent one.
                _set_pg_timeout(timedelta(seconds=1))
        return super().step(closure)


class WaitingAdamW(AdamW):
    """Wait for ever in step ``at``, and write this process's number into a file beside the logs."""

    def __init__(self, params, *, at, file=None, **options):
        super().__init__(params, **options)
        self._left, self._file = at, file

    def step(self, closure=None):
        self._left -= 1
        if self._left == 0:
            with open(self._file, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(3600)
        return super().step(closure)


class FaultyReward(DifficultyReward):
    """A fault in the pass before step 1, or in every update."""

    def __init__(self, names, *, in_prepare=None, in_update=None, **options):
        super().__init__(names, **options)
        self._in_prepare, self._in_update = in_prepare, in_update

    def prepare(self, model, probes):
        if self._in_prepare:
            strike(self._in_prepare, 0)
        super().prepare(model, probes)

    def measure(self, model, probes):
        if self._in_update:
            strike(self._in_update, 0)
        return super().measure(model, probes)


class FaultyCheckpointer(FullModelHFCheckpointer):
    """A fault in every epoch-end export."""

    def __init__(self, *arguments, in_export=None, **options):
        super().__init__(*arguments, **options)
        self._in_export = in_export

    def save_checkpoint(self, *arguments, **options):
        if self._in_export:
            strike(self._in_export, 0)
        return super().save_checkpoint(*arguments, **options)
