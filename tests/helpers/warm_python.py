# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""A Python that has torchtune imported already, for modules and for scripts.

Importing it takes longer than all else in a small run, once for ``mos-tune run`` and once more for
every process that it starts. So one server imports everything and forks for each start. What runs
is what Python itself would run, under the same arguments, environment and folder.
"""

import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

PRELOADED = (
    "torchtune._cli.tune",
    "torch.distributed.run",
    "torchtune.training",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "mos_tune.training",
    "mos_tune.tokenizers",
    "mos_tune.models",
)

# What stands in for Python: it lends its standard streams to a fork, passes signals on to it, and
# ends as it ends. Killed itself, it takes the fork along, whose keeper sees the socket close.
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
# What comes before there is a process to pass it on to is passed on then.
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
socket.send_fds(link, [b"."], [0, 1, 2])
answers = link.makefile("rw")
environment = os.environ | {{"STARTED_PID": str(os.getpid())}}
print(json.dumps([sys.argv[1:], os.getcwd(), environment]), file=answers, flush=True)
pid = int(answers.readline())
def pass_on(number, frame):
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it has ended, as its exit code will say
        pass
for one in SIGNALS:
    signal.signal(one, pass_on)
signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
print("go", file=answers, flush=True)
code = int(answers.readline() or -signal.SIGKILL)
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
    os.kill(os.getpid(), -code)
os._exit(code)  # Python's own exit takes a while, in which a signal would kill
"""


@cache
def warm_python() -> str:
    """Start the server, once for this process, and give the program to call in Python's place."""
    folder = Path(tempfile.mkdtemp(prefix="warm-python-"))
    address = str(folder / "socket")
    program = folder / "python"
    program.write_text(CLIENT.format(python=sys.executable, address=address))
    program.chmod(0o700)
    # The server ends when its standard input does: when this process is gone.
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        stdin=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not os.path.exists(address):
        assert server.poll() is None, "the server of warm_python did not start"
        time.sleep(0.05)
    return str(program)


def _serve(address: str) -> socket.socket:
    """Fork for every client, and return its connection in the fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{address}.new")
    server.listen(64)
    os.rename(f"{address}.new", address)
    while True:
        ready, _, _ = select.select([0, server], [], [])
        if 0 in ready:
            shutil.rmtree(os.path.dirname(address))
            sys.exit()
        client, _ = server.accept()
        if os.fork() == 0:
            server.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return client
        client.close()


def _keep(client: socket.socket) -> list:
    """Fork once more, and return the client's request there; here, wait for the end of either."""
    _, descriptors, _, _ = socket.recv_fds(client, 1, 3)
    said = client.makefile()
    request = said.readline()
    waiting, going = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(going)
        if not os.read(waiting, 1):
            os._exit(1)
        os.close(waiting)
        said.close()
        client.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        return json.loads(request)
    for descriptor in (0, 1, 2, *descriptors):
        os.close(descriptor)
    end = os.pidfd_open(pid)
    with suppress(OSError):  # the client may be gone at any time, which is seen next
        client.sendall(b"%d\n" % pid)
        if said.readline():  # the client passes signals on
            os.write(going, b".")
    ready, _, _ = select.select([client, end], [], [])
    if end not in ready:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):
        client.sendall(b"%d\n" % code)
    os._exit(0)


def _become(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be ``python [-u] -m module ...`` or ``python [-u] script ...``, started in ``folder``."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout.reconfigure(line_buffering=True)
    importlib.import_module("mos_tune").PARENT_PID = os.getppid()  # as for a new process
    # Started in the background, this server ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    added = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [argument for argument in arguments if argument != "-u"]
    is_module = sys.argv[0] == "-m"
    if is_module:
        sys.argv.pop(0)
    first = folder if is_module else os.path.dirname(os.path.abspath(sys.argv[0]))
    sys.path[:0] = [first, *(os.path.abspath(path) for path in added)]
    if is_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # else every fork copies and collects all of it at its end
    _become(*_keep(_serve(sys.argv[1])))
