"""SIGKILL at a chosen moment of a process that knows nothing of it: its folder is watched (inotify), its code is not.

Moments at random would nearly all hit the imports, which take most of a short process's life, and hardly ever the
millisecond in which a file is replaced. So an aim waits for the first sign of a phase and then a random while.
"""

from __future__ import annotations

import contextlib
import ctypes
import fnmatch
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

MODIFY, CLOSE_NOWRITE, MOVED_TO, CREATE = 0x2, 0x10, 0x80, 0x100  # <sys/inotify.h>
_EVENT = struct.Struct("iIII")
_LIBC = ctypes.CDLL(None, use_errno=True)


class Watch:
    """What happens to the names in a folder, as it happens; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.descriptor = _LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        mask = MODIFY | CLOSE_NOWRITE | MOVED_TO | CREATE
        if self.descriptor < 0 or _LIBC.inotify_add_watch(self.descriptor, os.fsencode(folder), mask) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.descriptor)

    def events(self) -> Iterator[tuple[int, str]]:
        """Kind and name of what has happened since."""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.descriptor, 1 << 16)
            while data:
                _, mask, _, length = _EVENT.unpack_from(data)
                yield mask, os.fsdecode(data[_EVENT.size : _EVENT.size + length].rstrip(b"\0"))
                data = data[_EVENT.size + length :]


@dataclass(frozen=True)
class Aim:
    """A moment: ``delay`` seconds after the ``count``-th event of a kind on names of a pattern, or after the start.

    Attributes
    ----------
    what : str
        For messages; what was hit is found by evidence afterwards.
    event : int
        ``MODIFY``, ``CLOSE_NOWRITE``, ``MOVED_TO`` or ``CREATE``; 0: the process's start.
    pattern : str
    count : int
    delay : float
    """

    what: str
    event: int = 0
    pattern: str = ""
    count: int = 1
    delay: float = 0.0

    def struck(self, start: Callable[[], int], folder: Path, limit: float = 600.0) -> Strike:
        """Start a process (``start`` returns its PID; it leads a group of its own) and kill it at the moment.

        Raises
        ------
        TimeoutError
            It neither ended nor reached the moment within ``limit`` seconds: it hangs. It is killed.
        """
        with Watch(folder) as watch:
            clock = time.time()
            pid = start()
            handle = os.pidfd_open(pid)
            try:
                reached = self._wait(watch, handle, time.monotonic() + limit)
            finally:
                os.close(handle)
                killed = time.time()
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if reached is None:
            raise TimeoutError(f"{self.what}: the process neither ended nor came there within {limit:.0f} s")
        return Strike(status, clock, killed)

    def _wait(self, watch: Watch, handle: int, stop: float) -> bool | None:
        """True at the moment, False when the process ended before, None when time is up."""
        left = self.count if self.event else 0
        poll = select.poll()
        poll.register(watch.descriptor, select.POLLIN)
        poll.register(handle, select.POLLIN)
        while left > 0:
            ready = dict(poll.poll(1000))
            for kind, name in watch.events() if watch.descriptor in ready else ():
                left -= bool(kind & self.event) and fnmatch.fnmatchcase(name, self.pattern)
            if left > 0 and handle in ready:
                return False
            if time.monotonic() > stop:
                return None
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        if self.delay > 0.02:  # the end of a short process must not be waited for
            return not ended.poll(self.delay * 1000)
        until = time.perf_counter() + self.delay
        while time.perf_counter() < until:  # sleep() comes back a tenth of a millisecond late
            pass
        return not ended.poll(0)


@dataclass(frozen=True)
class Strike:
    """How a process ended: its status (-9: killed), and when it began and was killed (``time.time``)."""

    status: int
    began: float
    ended: float

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


def strays(folder: Path) -> set[str]:
    """Names of the temporary files in a folder: what dead writers left."""
    patterns = (".*.tmp", "tmp????????")
    return {name for name in os.listdir(folder) if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}
