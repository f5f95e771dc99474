"""Arrays that were computed from a run's weights, kept in the run's folder: a figure drawn again needs no model."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import files, npz
from parmesan_cagem.errors import UserError

Arrays = dict[str, np.ndarray]

NAME = "views.npz"
VERSION = 1  # of what views.py draws: raise it when the same key would give other arrays
VIEWS_BYTES = 128 << 20  # of the file: twenty times what the views of a run take
_KEY = "key"


def cached(folder: Path, name: str, key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
    """The arrays of a view, from ``folder/views.npz`` when they were made under the same key, else computed and kept.

    Parameters
    ----------
    folder : Path
        The run's.
    name : str
        Of the view: a view made under another key replaces the one of that name.
    key : mapping
        All that the arrays depend on, as JSON values: the weights' SHA-256, the seed, the data, the sizes.
    compute : callable
        Returns the arrays by name.

    Notes
    -----
    A file that is damaged, or of a folder that cannot be written, costs time and nothing else.
    """
    path = Path(folder) / NAME
    files.sweep(path)  # what is found below is not written again
    digest = hashlib.sha256(files.to_json({"version": VERSION, **key}, sort_keys=True).encode()).hexdigest()
    kept = _read(path)
    prefix = f"{name}/"
    if prefix + _KEY in kept and kept[prefix + _KEY].tobytes() == digest.encode():
        return {k.removeprefix(prefix): v for k, v in kept.items() if k.startswith(prefix) and k != prefix + _KEY}
    arrays = compute()
    others = {k: v for k, v in kept.items() if not k.startswith(prefix)}
    stored = {prefix + k: v for k, v in arrays.items()}
    stored[prefix + _KEY] = np.frombuffer(digest.encode(), dtype=np.uint8)
    data = io.BytesIO()
    np.savez(data, **others, **stored)
    with contextlib.suppress(UserError):  # a folder to look at only
        files.write_atomically(path, data.getvalue())
    return arrays


def _read(path: Path) -> Arrays:
    """What the file holds; nothing when it is absent or damaged. Every array has a checksum (CRC-32, of the zip)."""
    try:
        return npz.load(io.BytesIO(files.read_bytes(path, VIEWS_BYTES)))
    except (OSError, ValueError):
        return {}
