"""Where results lie when no flag says so."""

from __future__ import annotations

import os
from pathlib import Path


def results() -> Path:
    """``$CAGEM_RESULTS``, else ``results`` of the current folder: what the defaults of all commands stand in."""
    return Path(os.environ.get("CAGEM_RESULTS") or "results")


def runs() -> Path:
    """The folder of run folders."""
    return results() / "runs"
