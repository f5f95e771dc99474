"""Contestants in processes of their own: a clean peak of memory each, their own thread pools, asleep until asked.

No wait policy is set for OpenMP or OpenBLAS, which would slow the contestant itself: their idle threads spin for some
milliseconds and then sleep. :meth:`Child.ask` therefore pauses first, and reports what the child used while it waited.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PAUSE = 0.3  # seconds before a command, for the spinning threads of whoever ran last


@dataclass(frozen=True)
class Answer:
    """What a child did: its result, wall seconds in the child, share of one core that it used since its last answer."""

    value: Any
    seconds: float
    idle_cpu: float


class Child:
    """An object made by ``factory(*arguments)`` in a new process.

    Parameters
    ----------
    name : str
        For messages.
    factory : callable
        At the top level of a module.
    """

    def __init__(self, name: str, factory: Callable[..., Any], *arguments: Any) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, factory, arguments), daemon=True)
        self._process.start()
        other.close()

    def ask(self, method: str, *arguments: Any) -> Answer:
        """Call a method of the object. Raises RuntimeError with the child's traceback, or that it died."""
        time.sleep(PAUSE)
        try:
            self._pipe.send((method, arguments))
            failed, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError(f"{self.name}: its process died") from None
        if failed:
            raise RuntimeError(f"{self.name}: {answer}")
        return answer

    def peak_bytes(self) -> int:
        """Largest resident memory since the start, or since :meth:`forget_peak`."""
        return self.ask("__peak").value

    def forget_peak(self) -> None:
        """Start the peak of memory anew: what compiling took is then left out."""
        self.ask("__forget_peak")

    def close(self) -> None:
        self._pipe.close()
        self._process.join(20)
        if self._process.is_alive():
            self._process.terminate()


def call(factory: Callable[..., Any], *arguments: Any, method: str | None = None) -> Any:
    """Make an object in a process of its own, call a method of it if named, and end the process."""
    child = Child(factory.__name__, factory, *arguments)
    try:
        return child.ask(method or "__peak").value
    finally:
        child.close()


def _serve(pipe: Connection, factory: Callable[..., Any], arguments: tuple) -> None:
    try:
        served = factory(*arguments)
    except Exception:
        pipe.recv()
        pipe.send((True, traceback.format_exc()))
        return
    own = {"__peak": _peak_bytes, "__forget_peak": _forget_peak}
    wall, cpu = time.perf_counter(), time.process_time()
    while True:
        try:
            method, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        start, waited = time.perf_counter(), time.process_time() - cpu
        try:
            value = (own.get(method) or getattr(served, method))(*arguments)
        except Exception:
            pipe.send((True, traceback.format_exc()))
            continue
        idle = waited / max(start - wall, 1e-9)
        wall, cpu = time.perf_counter(), time.process_time()
        pipe.send((False, Answer(value, wall - start, idle)))


def _peak_bytes() -> int:
    # Not getrusage: a new process inherits its parent's peak there.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")
