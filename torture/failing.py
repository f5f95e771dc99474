"""File operations that fail on demand, beneath Python: ``failing.c``, compiled, loaded first, armed from here."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_MARK = "FAILING_LIBRARY"
COUNT, FAIL, FAIL_ON, FULL, SHORT, SHORT_FAIL, CRASH_BEFORE, CRASH_HALF, CRASH_AFTER = range(9)  # as in failing.c
CRASHES = (CRASH_BEFORE, CRASH_HALF, CRASH_AFTER)
STICKY = (FAIL_ON, FULL)  # the file system stays as it is, read-only or full: what follows fails too
CRASHED = 99  # exit status


@dataclass(frozen=True)
class Fault:
    """What goes wrong with operation ``number``.

    Attributes
    ----------
    number : int
        From 1; 0 for none.
    mode : int
        FAIL: with ``code``, once. FAIL_ON: and every later change too, as on a file system that has become read-only.
        FULL: and every later operation that needs space. SHORT: half of the bytes are written, and told so; SHORT_FAIL:
        and the next write fails. CRASH_*: the process ends before it, half way through (writes), or after it.
    code : int
        errno.
    """

    number: int = 0
    mode: int = COUNT
    code: int = 0

    def __str__(self) -> str:
        name = errno.errorcode.get(self.code, "")
        return {
            COUNT: "no fault",
            FAIL: name,
            FAIL_ON: f"{name} from here on",
            FULL: f"{name} from here on",
            SHORT: "short",
            SHORT_FAIL: f"short, then {name}",
            CRASH_BEFORE: "crash before",
            CRASH_HALF: "crash half way",
            CRASH_AFTER: "crash after",
        }[self.mode]


def build(folder: Path) -> Path:
    """Compile the library into ``folder``."""
    library = folder / "failing.so"
    source = Path(__file__).with_name("failing.c")
    command = ["g++", "-x", "c", "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


def restart_with_library(module: str) -> Path | None:
    """Have this process start anew with the library loaded first; returns its folder in the process that has it."""
    if marked := os.environ.pop(_MARK, None):
        del os.environ["LD_PRELOAD"]  # the children of children do without
        return Path(marked).parent
    _exec(build(Path(tempfile.mkdtemp(prefix="failing-"))), module)


def _exec(library: Path, module: str) -> NoReturn:
    environment = {**os.environ, "LD_PRELOAD": str(library), _MARK: str(library)}
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)


class Library:
    """The library in this process, which was started with it."""

    def __init__(self) -> None:
        self._c = ctypes.CDLL(None)
        self._c.failing_notes.restype = ctypes.c_char_p

    def arm(self, folder: Path, fault: Fault) -> None:
        """Count what happens beneath ``folder``, and do the fault."""
        self._c.failing_arm(os.fsencode(folder), ctypes.c_long(fault.number), fault.mode, fault.code)

    def disarm(self) -> list[tuple[str, Path]]:
        """Stop; returns kind and path of every operation since :meth:`arm`."""
        self._c.failing_disarm()
        lines = os.fsdecode(self._c.failing_notes()).splitlines()
        return [(kind, Path(path)) for kind, _, path in (line.partition(" ") for line in lines)]
