"""What a part of the torture found: one JSON for docs/records/torture, one line for the terminal, an exit status.

A fault is *injected*; it is *survived* when everything holds that was promised for it, else it is *lost*. Each part
says in its own docstring what that is. Nothing is dropped from the count: the three numbers must add up.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from parmesan_cagem import files, provenance


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the flags of every part: ``--json FILE``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


class Figures:
    """Counts the faults of one part.

    Parameters
    ----------
    part : str
        Name of the part, as in ``python -m torture.PART``.

    Attributes
    ----------
    injected, survived : int
    losses : list of str
        One line for each fault that broke a promise.
    details : dict
        What else is worth telling; JSON-able.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        self.injected = self.survived = 0
        self.losses: list[str] = []
        self.details: dict[str, Any] = {}
        self._clock = time.monotonic()

    def survive(self, faults: int = 1) -> None:
        """Count faults after which every promise held."""
        self.injected += faults
        self.survived += faults

    def lose(self, what: str) -> None:
        """Count a fault that broke a promise, and say which."""
        self.injected += 1
        self.losses.append(what)
        print(f"{self.part}: LOST: {what}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Tell how far it is."""
        minutes = (time.monotonic() - self._clock) / 60
        print(f"{self.part} {minutes:5.1f} min: {text}", file=sys.stderr, flush=True)

    def finish(self, path: Path | None, scratch: Path | None = None) -> int:
        """Write the figures, print one line; 1 if anything was lost, or if nothing was injected.

        The part's folder ``scratch`` is removed, unless something in it was lost: then it is named and kept.
        """
        assert self.injected == self.survived + len(self.losses)
        if scratch is not None and self.losses:
            print(f"{self.part}: what it left is kept in {scratch}", file=sys.stderr)
        elif scratch is not None:
            shutil.rmtree(scratch)
        seconds = round(time.monotonic() - self._clock, 1)
        counts = {"injected": self.injected, "survived": self.survived, "lost": len(self.losses)}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            facts = {
                "part": self.part,
                **counts,
                "seconds": seconds,
                "losses": self.losses,
                "details": self.details,
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "machine": provenance.device_name(),
                "versions": provenance.versions(),
                "git": provenance.git_state(),
            }
            files.write_json(path, facts)
        print(f"{self.part}: " + ", ".join(f"{n} {what}" for what, n in counts.items()) + f", {seconds:.0f} s")
        return int(bool(self.losses) or not self.injected)
