# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""Two launchers, as on two machines: what happens to one of them ends both."""

import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.interrupted import settings_of
from helpers.runs import mos_tune_run
from omegaconf import OmegaConf


@pytest.fixture
def on_two_machines(tmp_path):
    settings = settings_of(
        tmp_path,
        optimizer={"_component_": "helpers.components.FaultyAdamW", "lr": 1e-3, "rank": 1},
        checkpoint={"every_n_steps": 100, "keep_last": 2},
        batch_size=4,
    )
    file = tmp_path / "config.yaml"
    OmegaConf.save(OmegaConf.create(settings), file)

    def run(*overrides):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            endpoint = f"localhost:{free.getsockname()[1]}"
        options = ("--nnodes", "2", "--rdzv_backend", "c10d", "--rdzv_endpoint", endpoint)

        def start(_):
            return mos_tune_run(file, *overrides, processes=1, launcher=options, ok=False)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(start, range(2)))

    return run


def test_a_signal_to_one_stops_both_where_they_can_resume(on_two_machines):
    runs = on_two_machines("optimizer.fault='terminate launcher'", "optimizer.at=2")
    for run in runs:
        assert run.code == 75, run.output[-6000:]
        assert run.output.splitlines()[-1].endswith("resume_from_checkpoint=True resumes: code 75")
        assert "Traceback" not in run.output, run.output[-6000:]


def test_a_rank_that_another_machine_lost_is_named(on_two_machines):
    runs = on_two_machines("optimizer.fault=kill", "optimizer.at=1")
    ends = {run.code: run.output.splitlines()[-1] for run in runs}
    assert set(ends) == {1, 137}, runs[0].output[-6000:] + runs[1].output[-6000:]
    assert re.search(r"rank 1 \(pid \d+\) was killed by SIGKILL", ends[137])
    # Where the other launcher holds the store, it may be gone before this one has heard of rank 0.
    told = (
        r"rank 0 ended with exit code 1: rank 1 no longer answers|another machine's launcher has "
    )
    assert re.match(rf"mos-tune: ({told})", ends[1])
    assert not any("Traceback" in run.output for run in runs)
