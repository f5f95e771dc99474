"""SIGINT and SIGTERM: at once where there is nothing to save, at the next safe point where there is."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
    """The process was asked to stop; exit status 128 + signal: 130 for SIGINT, 143 for SIGTERM.

    No ``Exception``, like KeyboardInterrupt: Theano's optimiser logs those and goes on.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number


class Signals:
    """Turns the two signals into :class:`Stopped`, or remembers them while :meth:`deferred`.

    Use as a context manager around the whole job; the former handlers return at its end.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferring = False

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self._deferring:
            raise Stopped(number)
        self.received = number

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal only sets ``received``; whoever runs inside calls :meth:`check` where it can stop."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        self.check()  # one that came after the last safe point

    def check(self) -> None:
        """Raise :class:`Stopped` if a signal came while deferred."""
        if self.received is not None:
            raise Stopped(self.received)
