# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Ctrl-C and a closed terminal stop a run as SIGTERM does, and no process outlives its launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.interrupted import settings_of
from helpers.runs import RECIPE, REPOSITORY
from helpers.warm_python import warm_python
from omegaconf import OmegaConf

MOS_TUNE, TUNE, TORCHRUN = "mos_tune.cli", "torchtune._cli.tune", "torch.distributed.run"


class Started:
    """A run that waits in its first step, or in none."""

    def __init__(
        self, directory, program, *, waits_in=0, processes=2, hangup=signal.SIG_DFL, **environment
    ):
        self.file = directory / "waiting"
        self.output = directory / "output.txt"
        settings = settings_of(directory, processes=processes, epochs=1, max_steps_per_epoch=70)
        settings["checkpoint"] = {"every_n_steps": 1000}
        settings["optimizer"] = {
            "_component_": "helpers.components.WaitingAdamW",
            "at": waits_in,
            "file": str(self.file),
            "lr": 1e-3,
        }
        self.run = Path(settings["output_dir"])
        config = directory / "config.yaml"
        OmegaConf.save(OmegaConf.create(settings), config)
        command = [sys.executable, "-m", program, *(["run"] if program != TORCHRUN else [])]
        command += ["--nproc_per_node", str(processes), RECIPE, "--config", str(config)]
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
                stdout=output,
                stderr=output,
                # pytest in the background, or under nohup, would hand its own ignoring on.
                preexec_fn=lambda: [
                    signal.signal(signal.SIGINT, signal.default_int_handler),
                    signal.signal(signal.SIGHUP, hangup),
                ],
            )
        self._processes = processes

    def wait_for(self, happened):
        while not happened():
            assert self.process.poll() is None, self.text()[-5000:]
            time.sleep(0.05)

    def workers(self):
        self.wait_for(
            lambda: self.file.exists() and self.file.read_text().count("\n") == self._processes
        )
        return [int(pid) for pid in self.file.read_text().split()]

    def text(self):
        return self.output.read_text()


def are_gone(pids):
    """Wait until processes are gone, as they never would by themselves."""
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_stops_after_the_step_and_what_is_saved_can_be_resumed(tmp_path, number):
    run = Started(tmp_path, MOS_TUNE, PYTHON_EXEC=warm_python())
    log = run.run / "logs" / "log.txt"
    run.wait_for(lambda: log.exists() and "Step 3 " in log.read_text())
    run.process.send_signal(number)
    time.sleep(1)
    run.process.send_signal(signal.SIGTERM)  # any number of signals are one wish
    assert run.process.wait() == 75, run.text()[-5000:]
    (saved,) = (run.run / "checkpoints").iterdir()
    step = saved.name.removeprefix("step_")
    assert f"mos-tune stopped by {number.name} after step {step}, which is saved" in run.text()
    assert f"mos-tune: stopped by {number.name}; resume_from_checkpoint=True" in run.text()
    assert "Traceback" not in run.text()
    assert not (run.run / ".lease").exists()


def test_a_second_interrupt_ends_it_at_once(tmp_path):
    run = Started(tmp_path, MOS_TUNE, waits_in=2)
    workers = run.workers()
    run.process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert run.process.poll() is None  # it waits for the end of the step, which never comes
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait() == 128 + signal.SIGINT
    assert "mos-tune stopped by a second SIGINT" in run.text()
    assert are_gone(workers)


def test_after_nohup_a_closed_terminal_is_nothing(tmp_path):
    run = Started(tmp_path, MOS_TUNE, waits_in=2, processes=1, hangup=signal.SIG_IGN)
    workers = run.workers()
    run.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert run.process.poll() is None and "SIGHUP" not in run.text()
    run.process.send_signal(signal.SIGINT)
    time.sleep(1)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait() == 128 + signal.SIGINT
    assert are_gone(workers)


@pytest.mark.parametrize(
    ("program", "number"),
    [(MOS_TUNE, signal.SIGUSR1), (TUNE, signal.SIGUSR1), (TORCHRUN, signal.SIGKILL)],
)
def test_workers_end_with_their_launcher(tmp_path, program, number):
    run = Started(tmp_path, program, waits_in=2)
    workers = run.workers()
    run.process.send_signal(number)
    assert run.process.wait() == -number
    assert are_gone(workers)
