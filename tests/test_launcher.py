# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from mos_tune.launcher import ending, prepare

GOES_ON = "mos-tune: stopped by SIGTERM; resume_from_checkpoint=True goes on: code 75"
STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def failed(*ranks):
    """The launcher's error, of (rank, exit code, seconds after the first)."""
    failures = {}
    for rank, code, after in ranks:
        failures[rank] = ProcessFailure(rank, 100 + rank, code, error_file="none")
        failures[rank].timestamp = 1000 + after
    return ChildFailedError("recipe", failures)


@pytest.mark.parametrize(
    ("ranks", "line", "code"),
    [
        ([(0, 75, 0), (1, 75, 0)], GOES_ON, 75),
        ([(0, 75, 0), (1, -15, 1)], GOES_ON, 75),
        ([(0, 1, 0)], "mos-tune: rank 0 ended with exit code 1; its output says why", 1),
        (
            [(0, -15, 1), (1, 1, 0)],
            "mos-tune: rank 1 ended with exit code 1; its output says why",
            1,
        ),
        (
            [(0, 1, 0), (1, -9, 0)],
            "mos-tune: rank 1 (pid 101) was killed by SIGKILL; is the machine out of memory?",
            137,
        ),
        # Rank 1 did not end by itself, and torchrun killed it.
        (
            [(0, 3, 0), (1, -9, 30)],
            "mos-tune: rank 0 ended with exit code 3; its output says why",
            3,
        ),
        ([(0, -11, 0), (1, 1, 0)], "mos-tune: rank 0 (pid 100) was killed by SIGSEGV", 139),
        (
            [(0, -15, 0), (1, -15, 0)],
            "mos-tune: rank 0 (pid 100) was killed by SIGTERM, "
            "rank 1 (pid 101) was killed by SIGTERM",
            143,
        ),
    ],
)
def test_the_rank_that_failed_first_is_named(ranks, line, code):
    assert ending(failed(*ranks), None) == (line, code)


def stopped(*codes):
    """The launcher's traceback when it got SIGTERM and its workers ended with these codes."""
    handlers = {
        rank: SimpleNamespace(proc=SimpleNamespace(poll=lambda code=code: code))
        for rank, code in enumerate(codes)
    }

    class Agent:
        _pcontext = SimpleNamespace(subprocess_handlers=handlers) if codes else None

        def run(self):
            raise SignalException("Process 1 got signal: 15", signal.SIGTERM)

    try:
        Agent().run()
    except SignalException as error:
        return error, error.__traceback__


@pytest.mark.parametrize(
    ("codes", "code", "words"),
    [
        ((75, 75), 75, GOES_ON),
        ((75, None), 75, GOES_ON),
        ((0, 0), 0, ""),
        ((-15, -15), 143, "nothing was saved"),
        ((-9, -9), 143, "see --shutdown-timeout"),
        ((), 143, "nothing was saved"),
    ],
)
def test_sigterm(codes, code, words):
    line, found = ending(*stopped(*codes))
    assert found == code
    assert words in line and bool(line) == bool(words)


def test_a_second_signal_after_the_agent_changes_nothing():
    first, _ = stopped(75, 75)
    try:
        try:
            raise first
        except SignalException:
            raise SignalException("Process 1 got signal: 15", signal.SIGTERM)  # noqa: B904, a handler raises so
    except SignalException as second:
        assert ending(second, second.__traceback__) == (GOES_ON, 75)


def test_what_is_not_recognised_is_left_to_torchrun(tmp_path):
    assert ending(ValueError("x"), None) is None
    assert ending(SignalException("Ctrl-C", signal.SIGINT), None) is None
    report = tmp_path / "error.json"
    report.write_text('{"message": "out of something", "timestamp": 1}')
    reported = ChildFailedError("recipe", {0: ProcessFailure(0, 1, 1, str(report))})
    assert ending(reported, None) is None


@pytest.mark.parametrize("error", ["failed", "RuntimeError('as ever')"])
def test_one_line_and_the_exit_code_or_the_traceback(tmp_path, error):
    code = f"""
from mos_tune.launcher import prepare
prepare(["tune", "run"])
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
failed = ChildFailedError("recipe", {{1: ProcessFailure(1, 2, 41, "none")}})
raise {error}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if error == "failed":
        assert done.returncode == 41
        assert done.stderr == "mos-tune: rank 1 ended with exit code 41; its output says why\n"
    else:
        assert done.returncode == 1
        assert "Traceback" in done.stderr and "as ever" in done.stderr


@pytest.mark.parametrize("option", ["--max-restarts", "--max_restarts=3", None])
def test_restarts_get_a_store_of_their_own(monkeypatch, option):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setenv(STORE, "")  # restored afterwards, also if it was not set
    monkeypatch.delenv(STORE)
    prepare(["tune", "run", *filter(None, [option]), "recipe.py"])
    assert os.environ.get(STORE) == (None if option is None else "1")
    monkeypatch.setenv(STORE, "0")
    prepare(["tune", "run", "--max-restarts", "3"])
    assert os.environ[STORE] == "0"
