# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from mos_tune.errors import UserError
from mos_tune.training.lease import Holder, Lease

HERE = Holder.this()
ELSEWHERE = replace(HERE, host="other-node", boot="another")


@pytest.fixture
def lease(tmp_path):
    """Make leases of one folder, with short times, and give them all back at the end."""
    made = []

    def make(holder=None):
        made.append(Lease(tmp_path / "lease", beat=0.05, silence=0.6, holder=holder))
        return made[-1]

    yield make
    for one in made:
        one.release()


def left_by(holder, tmp_path):
    """Leave the lease of a process that renews it no more."""
    content = json.dumps({**vars(holder), "token": "x"})
    (tmp_path / "lease").write_text(content)
    return content


def test_one_at_a_time(lease, tmp_path):
    first = lease()
    first.take()
    with pytest.raises(UserError, match=rf"in use by a run on \S+ \(process {os.getpid()}\); wait"):
        lease().take()
    first.release()
    first.release()
    assert not list(tmp_path.iterdir())
    lease().take()


@pytest.mark.parametrize(
    "gone",
    [
        replace(HERE, pid=2**22 + 1),
        replace(HERE, started="1"),  # another process has this number now
        replace(HERE, boot="before"),
    ],
    ids=["ended", "number-used-again", "rebooted"],
)
def test_what_is_gone_on_this_machine_is_no_hindrance_at_once(lease, tmp_path, gone):
    left_by(gone, tmp_path)
    mine = Lease(tmp_path / "lease", silence=3600)
    mine.take()
    mine.release()


def test_a_killed_process_is_gone_before_it_is_reaped(lease, tmp_path):
    code = (
        "import sys; from pathlib import Path; from mos_tune.training.lease import Lease\n"
        "Lease(Path(sys.argv[1])).take(); print('taken', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(tmp_path / "lease")]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout.readline() == b"taken\n"
        with pytest.raises(UserError, match=rf"process {process.pid}\)"):
            lease().take()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        lease().take()


@pytest.mark.parametrize(
    "holder", [ELSEWHERE, replace(HERE, namespace="pid:[1]")], ids=["machine", "container"]
)
def test_another_machine_that_gives_signs_of_life_is_left_alone(lease, tmp_path, holder):
    lease(holder).take()
    began = time.monotonic()
    with pytest.raises(UserError, match=f"in use by a run on {holder.host}"):
        lease().take()
    assert time.monotonic() - began < 0.6  # it does not wait for longer than one sign


@pytest.mark.parametrize("content", [None, "", '{"host"'], ids=["killed", "empty", "torn"])
def test_a_lease_without_a_sign_of_life_is_taken_after_the_silence(lease, tmp_path, content):
    left_by(ELSEWHERE, tmp_path)
    if content is not None:
        (tmp_path / "lease").write_text(content)
    began = time.monotonic()
    mine = lease()
    mine.take()
    assert time.monotonic() - began >= 0.6
    assert json.loads((tmp_path / "lease").read_text())["pid"] == os.getpid()


def test_who_was_silent_for_too_long_sees_that_the_lease_is_lost(lease, tmp_path):
    first = lease()
    first.take()
    content = left_by(ELSEWHERE, tmp_path)
    while not first.lost:
        time.sleep(0.01)
    first.release()
    assert (tmp_path / "lease").read_text() == content


def test_of_many_that_find_a_stale_lease_one_gets_it(lease, tmp_path):
    left_by(replace(HERE, boot="before"), tmp_path)
    start = threading.Barrier(8)
    got, refused = [], []

    def run():
        mine = lease()
        start.wait()
        try:
            mine.take()
            got.append(mine)
        except UserError:
            refused.append(mine)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(got) == 1 and len(refused) == 7
    time.sleep(0.2)
    assert not got[0].lost
    assert [path.name for path in tmp_path.iterdir()] == ["lease"]
