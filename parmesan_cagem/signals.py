"""SIGINT, SIGTERM and SIGHUP: at once where there is nothing to save, at the next safe point where there is.

A second signal does not wait for that point. This module imports only what is quick to import: it stands guard before
all else is imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

from parmesan_cagem.errors import UserError

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A terminal, a shell and a parent process may each tell of one and the same request: that is not a second one.
SAME_REQUEST_SECONDS = 1.0
_stopping = False  # whether a signal has ended the job and its line is being printed: more of them need no more lines
_PROGRAMS = ("cagem", "run_mnist.py", "run_omniglot.py", "-m")  # -m: Python looks for parmesan_cagem.__main__


class Stopped(BaseException):
    """The process was asked to stop; exit status 128 + signal: 130 for SIGINT, 143 for SIGTERM, 129 for SIGHUP.

    No ``Exception``, like KeyboardInterrupt: Theano's optimiser logs those and goes on.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class Signals:
    """Turns the signals into :class:`Stopped`, or remembers them while :meth:`deferred`.

    Use as a context manager around the whole job; the former handlers return at its end. A signal that the process was
    started to ignore (``nohup``, a background job of a plain shell) stays ignored.

    A second signal that comes while the first one waits for a safe point, or while code that is not Python's keeps it
    from being seen, ends the process at once: with its status, one line, and the files as they are, as a kill would.
    A thread sees to that, since Python runs handlers in the main thread only, which may be in one call of XLA for long.
    """

    def __init__(self, prog: str = "") -> None:
        self.received: int | None = None
        self._prog = prog or os.path.basename(sys.argv[0])
        self._deferring = False
        self._seen = False  # whether Python has run the handler

    def __enter__(self) -> Signals:
        self._before = {
            number: signal.signal(number, self._handle)
            for number in NUMBERS
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN
        }
        self._unraisable_before, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._wakeup_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        sys.unraisablehook = self._unraisable_before
        signal.set_wakeup_fd(self._wakeup_before)
        os.write(self._pipe[1], b"\0")
        self._watcher.join()
        for descriptor in self._pipe:
            os.close(descriptor)
        global _stopping
        _stopping = self.received is not None
        for number, handler in self._before.items():
            signal.signal(number, handler)
        foreseen = (Stopped, UserError, FloatingPointError)  # such as: the checkpoint could not be saved
        if error is not None and not isinstance(error, foreseen) and self.received is not None:
            # What a signal broke may say so in its own words: a module half imported, a compiler that was hit as well.
            raise Stopped(self.received) from error

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.received, self._seen = number, True
        if not self._deferring:
            raise Stopped(number)

    def _unraisable(self, what: sys.UnraisableHookArgs) -> None:
        """Python drops what is raised in destructors and callbacks of the garbage collector (JAX has one): again."""
        if isinstance(what.exc_value, Stopped):
            number = what.exc_value.exit_status - 128
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        else:
            self._unraisable_before(what)

    def _watch(self) -> None:
        """Read the signals' numbers, which Python's own C handler writes at once."""
        first = None
        while number := os.read(self._pipe[0], 1)[0]:
            if number not in NUMBERS:
                continue
            if first is None:
                first = time.monotonic()
            elif time.monotonic() - first > SAME_REQUEST_SECONDS and (self._deferring or not self._seen):
                at_once(self._prog, number, " for the second time; what was done since the last checkpoint is lost")

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal only sets ``received``; whoever runs inside calls :meth:`check` where it can stop."""
        self.check()  # one whose exception got lost, as in a destructor
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        self.check()  # one that came after the last safe point

    def check(self) -> None:
        """Raise :class:`Stopped` if a signal came."""
        if self.received is not None:
            raise Stopped(self.received)


def at_once(prog: str, number: int, more: str = "") -> None:
    """End this process now: one line and the exit status."""
    line = f"{prog}: stopped by {signal.Signals(number).name}{more}\n"
    with contextlib.suppress(OSError):
        os.write(2, ("\n" * os.isatty(2) + line).encode())
    os._exit(128 + number)


def guard_start() -> None:
    """Let a signal before :class:`Signals` (and after it, while Python ends) cost one line, not a traceback.

    Importing everything takes a second, and a KeyboardInterrupt in it would be shown with all the modules on the way.
    Does nothing but in this package's programs: elsewhere signals are not ours.
    """
    prog = os.path.basename(sys.argv[0]) if sys.argv else ""
    if prog not in _PROGRAMS or threading.current_thread() is not threading.main_thread():
        return
    prog = "cagem" if prog == "-m" else prog

    def stop(number: int, _frame: FrameType | None) -> None:
        if _stopping:
            os._exit(128 + number)
        at_once(prog, number)

    for number, usual in zip(NUMBERS, (signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL), strict=True):
        if signal.getsignal(number) == usual:
            signal.signal(number, stop)
