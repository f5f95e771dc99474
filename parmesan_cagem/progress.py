"""Progress: a bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

import sys
import time
from typing import TextIO, cast

from tqdm import tqdm

from parmesan_cagem.streams import Patient

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts ``total`` units of work with a rate, the time left and a few words such as the bound.

    A terminal, pipe or log that is gone does not stop the work: there is no progress to be seen from then on.

    Parameters
    ----------
    total : int
        Units of work; ``done`` of them are finished already (a resumed run).
    unit, title : str
    quiet : bool
        Print nothing at all (``--no-progress``).
    """

    def __init__(self, total: int, unit: str, title: str, quiet: bool = False, done: int = 0) -> None:
        self._total, self._unit, self._title, self._quiet = total, unit, title, quiet
        self._count, self._first, self._started = done, done, time.monotonic()
        self._last_line = self._started
        self._stream = cast(TextIO, Patient(sys.stderr))
        self._bar: tqdm | None = None
        if not quiet and sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit=unit, desc=title, dynamic_ncols=True, file=self._stream)

    def advance(self, units: int, words: str = "") -> None:
        """Count ``units`` more and show ``words``."""
        self._count += units
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)
            self._bar.update(units)
        elif not self._quiet and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            rate = (self._count - self._first) / (self._last_line - self._started)
            left = (self._total - self._count) / rate
            line = f"{self._title}: {self._count}/{self._total} {self._unit}"
            print(f"{line}, {rate:.3g}/s, {_clock(left)} left  {words}", file=self._stream, flush=True)

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        elif not self._quiet:
            print(line, file=self._stream, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
