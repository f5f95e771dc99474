"""The watch over a loader: whatever it touches beyond its folder is an escape, seen and not assumed.

Python reports to an audit hook whatever opens a file, runs code, starts a process, imports, connects: what does not
belong to the folder of the files, or to Python's own libraries, is noted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

_PLACES = (sys.prefix, sys.base_prefix, Path(os.__file__).parent, Path(__file__).parents[1], *filter(None, sys.path))
_LIBRARIES = tuple({*map(str, _PLACES), *map(os.path.realpath, _PLACES)})
_OWN = (*_LIBRARIES, "<frozen", "<attrs generated methods jsonschema.")  # the latter when an error is first made
_SYSTEM = (
    "/proc/",
    "/dev/null",
    "/dev/urandom",
    "/dev/zero",
    "/sys/",
    "/usr/lib",
    "/usr/share",
    "/etc/localtime",
    "/lib",
)
_CODE = ("subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "socket.", "ctypes.", "pty.",
         "urllib.", "ftplib.", "http.", "smtplib.", "code.__new__", "builtins.input")  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
            "os.chown", "shutil.", "os.utime")  # fmt: skip


class Watch:
    """The audit hook: what a load touched beyond its folder. A hook cannot be removed, so it lives in a worker only."""

    def __init__(self, home: Path) -> None:
        self.on, self.seen = False, [""]
        self.seen.clear()
        self._home = os.path.realpath(home)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        self.on = False  # what the hook does itself
        try:
            if event == "open":
                self._path(event, arguments[0], bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
            elif event == "exec" and not getattr(arguments[0], "co_filename", "").startswith(_OWN):
                self.seen.append(f"exec {arguments[0]!a:.100}")
            elif event.startswith(_CODE) and event != "socket.gethostname":  # a lock says it
                self.seen.append(f"{event} {arguments!a:.100}")
            elif event.startswith(_CHANGES):
                for one in arguments[: 2 if "link" in event or "rename" in event else 1]:
                    self._path(event, one, True)
        finally:
            self.on = True

    def _path(self, event: str, path: Any, writes: bool) -> None:
        if isinstance(path, int):
            return
        real = os.path.realpath(os.fsdecode(path))
        inside = real == self._home or real.startswith(self._home + os.sep)
        if not inside and (writes or not real.startswith((*_LIBRARIES, *_SYSTEM))):
            self.seen.append(f"{event} {real}")
