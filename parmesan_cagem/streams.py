"""Standard output and standard error that may go away: a terminal that closes, a reader that leaves, a full log disk.

Whatever goes to standard error is a courtesy, and never ends the work. What goes to standard output is asked for: that
it is lost is an error, which says so.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

OUTPUT = "standard output"


class _Around:
    """All that a stream has; ``write`` and ``flush`` are for subclasses to change."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Patient(_Around):
    """A stream that drops what it cannot write; later lines are tried again: a full disk may have room by then."""

    def write(self, text: str) -> int:
        """Write ``text``, or do not."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or do not."""
        with contextlib.suppress(OSError):
            self._stream.flush()


class _Named(_Around):
    """A stream whose failures say whose they are: an OSError of a stream names no file."""

    def write(self, text: str) -> int:
        with _naming():
            return self._stream.write(text)

    def flush(self) -> None:
        with _naming():
            self._stream.flush()


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Inside, no error of standard error's is seen, and those of standard output have `OUTPUT` for a file name.

    At the end both are flushed. One that fails then is turned to the null device: Python would try again at its own
    end, and make exit status 120 of it.
    """
    _fill_gaps()
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast(TextIO, _Named(out)), cast(TextIO, Patient(err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        for stream in (out, err):
            try:
                stream.flush()
            except OSError:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


@contextlib.contextmanager
def _naming() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = OUTPUT
        raise


def _fill_gaps() -> None:
    """Streams that were closed before Python began (``2>&-``): the next file to be opened must not take their place."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # the system gives the lowest that is free
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", buffering=1, closefd=False)
