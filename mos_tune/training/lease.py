# Copyright (c) the mos-tune authors.
# All rights reserved.
#
# This source code is licensed under the BSD-style license found in the
# LICENSE file in the root directory of this source tree.

"""The lease of a folder: one run at a time writes there, also if several machines share it.

No file lock, because some shared file systems grant it to everybody.
"""

import atexit
import json
import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread

from mos_tune.distributed import log_rank_zero
from mos_tune.errors import UserError

BEAT = 5.0
"""Seconds between two signs of life."""

SILENCE = 60.0
"""Seconds without a sign of life after which a run on another machine counts as gone."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that holds a lease, as another can tell whether it is there."""

    host: str
    pid: int
    started: str
    """When the process was, in ticks since boot: numbers of processes are used again."""

    boot: str
    namespace: str
    """Of process numbers: containers of one machine do not see each other's processes."""

    @classmethod
    def this(cls) -> "Holder":
        """Give this process."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            started=started(os.getpid()) or "",
            boot=_text(Path("/proc/sys/kernel/random/boot_id")) or "",
            namespace=_link(Path("/proc/self/ns/pid")),
        )

    def is_gone(self, seen_from: "Holder") -> bool | None:
        """Tell whether the process has ended; None if that cannot be told from there."""
        is_near = (self.host, self.namespace) == (seen_from.host, seen_from.namespace)
        if not is_near or not seen_from.started:  # which only Linux tells
            return None
        return self.boot != seen_from.boot or started(self.pid) != self.started


class Lease:
    """A file that says who writes in its folder; its time is renewed as long as the holder lives.

    Args:
        path (Path): the file; its folder exists.
        beat (float): seconds between two renewals. Default 5.
        silence (float): seconds without one after which another machine's lease is taken. Default
            60: a stalled file system or interpreter is no dead run.
        holder (Holder | None): who takes it. Default None: this process.

    Attributes:
        lost (bool): another run has taken the lease from this one, which was silent for too long.
    """

    def __init__(
        self,
        path: Path,
        *,
        beat: float = BEAT,
        silence: float = SILENCE,
        holder: Holder | None = None,
    ) -> None:
        self.lost = False
        self._path, self._beat, self._silence = path, beat, silence
        self._me = holder or Holder.this()
        self._content = json.dumps({**asdict(self._me), "token": uuid.uuid4().hex})
        self._ended = Event()

    def take(self) -> None:
        """Take the lease, and keep it until :meth:`release` or the end of the process.

        Raises:
            UserError: if the run that has it lives.
        """
        while not self._create():
            found = _text(self._path)
            if found is not None and self._is_stale(found):
                self._set_aside(found)
        atexit.register(self.release)
        Thread(target=self._renew, daemon=True).start()

    def release(self) -> None:
        """Give the lease back, if it is still this one's; again and again does no harm."""
        atexit.unregister(self.release)
        self._ended.set()
        if _text(self._path) == self._content:
            self._path.unlink(missing_ok=True)

    def _create(self) -> bool:
        # Whole at once: a lease without its content yet would look like a dead writer's.
        whole = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}")
        try:
            with open(whole, "x", encoding="utf-8") as file:
                file.write(self._content)
                file.flush()
                os.fsync(file.fileno())
            os.link(whole, self._path)
        except FileExistsError:
            return False
        finally:
            whole.unlink(missing_ok=True)
        return True

    def _is_stale(self, content: str) -> bool:
        """Tell whether its holder is gone; False as well if the lease has changed hands."""
        holder = _holder(content)
        gone = None if holder is None else holder.is_gone(self._me)
        if gone is None:
            gone = self._is_silent(content, "another" if holder is None else holder.host)
            if not gone and _text(self._path) != content:
                return False
        if not gone:
            who = "" if holder is None else f" on {holder.host} (process {holder.pid})"
            raise UserError(
                f"output_dir {self._path.parent} is in use by a run{who}; wait for its end, or "
                "give another output_dir"
            )
        return True

    def _is_silent(self, content: str, host: str) -> bool:
        # No clock is read: those of two machines differ.
        log_rank_zero(
            f"{self._path} is of a run on {host}: waiting up to {self._silence:g} s for a sign of "
            "life"
        )
        first = self._time()
        deadline = time.monotonic() + self._silence
        while time.monotonic() < deadline:
            time.sleep(self._beat / 5)
            if self._time() != first or _text(self._path) != content:
                return False
        return True

    def _time(self) -> int | None:
        try:
            # Opened, because network file systems ask the server then.
            with open(self._path, "rb") as file:
                return os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            return None

    def _set_aside(self, content: str) -> None:
        aside = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):  # another run was quicker
            os.rename(self._path, aside)
            if _text(aside) != content:  # it had made a new one already
                with suppress(FileExistsError):
                    os.link(aside, self._path)
            aside.unlink()

    def _renew(self) -> None:
        while not self._ended.wait(self._beat):
            found = _text(self._path)
            with suppress(OSError):  # a file system out of reach: the next beat tries again
                if found is None and not self._ended.is_set():
                    self._create()
                elif found == self._content:
                    os.utime(self._path)
                else:
                    self.lost = True
                    return


def _holder(content: str) -> Holder | None:
    try:
        fields = json.loads(content)
        del fields["token"]
        return Holder(**fields)
    except (ValueError, TypeError, KeyError):  # its writer was killed before it had written
        return None


def started(pid: int) -> str | None:
    """Give when a process was started, in ticks since boot.

    Args:
        pid (int): its number.

    Returns:
        str | None: None if there is none, if it is a zombie only, or where there is no ``/proc``.
    """
    stat = _text(Path(f"/proc/{pid}/stat"))
    if stat is None:
        return None
    # The name before may hold blanks and brackets.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
