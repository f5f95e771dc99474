"""What several formats share: the published run, random arrays, a digest of what was read, a folder around a file."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "results" / "runs" / "mnist-cagem-100-short-s1-2026-11-29"
RNG = np.random.default_rng(1)  # one for all sound files


def digest(arrays: Any) -> str:
    """Of arrays, or of nested sequences of them: the same for the same names, types, shapes and bytes."""
    if isinstance(arrays, dict):
        return hashlib.sha256(repr([(name, digest(one)) for name, one in arrays.items()]).encode()).hexdigest()
    if isinstance(arrays, tuple | list):
        return hashlib.sha256(repr([digest(one) for one in arrays]).encode()).hexdigest()
    array = np.asarray(arrays)
    return hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()).hexdigest()


def into(name: str, load: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """``load`` of a run's folder in which the damaged file has that name, and nothing else is."""

    def moved(path: Path) -> Any:
        folder = path.parent / "runs" / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path.rename(folder / name)
        return load(folder)

    return moved
