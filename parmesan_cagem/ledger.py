"""What an evaluation has found so far, image by image: whoever goes on after a kill computes only what is missing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parmesan_cagem import files, provenance, sealed

SAVE_SECONDS = 30.0  # at most so much work is lost
_PARTS = ("values", "done", "seconds")


class Table:
    """Rows of numbers, one for each image of a data set, filled block by block.

    Attributes
    ----------
    values : (N, columns) float64
    done : (N,) bool
    seconds : (N,) float64
        Wall time that each row took.
    """

    def __init__(self, rows: int, columns: int, ledger: Ledger | None = None) -> None:
        self.values: NDArray[np.float64] = np.zeros((rows, columns))
        self.done: NDArray[np.bool_] = np.zeros(rows, dtype=bool)
        self.seconds: NDArray[np.float64] = np.zeros(rows)
        self._ledger = ledger

    def put(self, places: NDArray[np.int64], values: ArrayLike, seconds: float) -> None:
        """Fill the rows at ``places``, which took ``seconds`` together."""
        self.values[places], self.done[places], self.seconds[places] = values, True, seconds / len(places)
        if self._ledger is not None:
            self._ledger.tick()


class Ledger:
    """Tables by name, kept in a sealed file beside the run; a context manager that saves at its end, however it ends.

    Parameters
    ----------
    path : Path or None
        The file; None keeps everything in memory.
    identity : mapping
        What the numbers follow from, besides what a table's name says: weights, data, engine, source. A file with
        another identity is stale; the next save replaces it.
    device : str
        Of this process.

    Attributes
    ----------
    warning : str or None
        Why a file that was there could not be used.
    devices : list of str
        All that numbers in it were computed on, this process's last.
    """

    def __init__(self, path: Path | None = None, identity: Mapping[str, Any] | None = None, device: str = "") -> None:
        self._path, self._identity = path, dict(identity or {})
        self._arrays: dict[str, np.ndarray] = {}
        self._tables: dict[str, Table] = {}
        self._saved = time.monotonic()
        self.warning: str | None = None
        self.devices = [device]
        self._peak = 0
        if path is not None and path.exists():
            try:
                arrays, facts = sealed.decode(sealed.read(path))
                if facts.get("identity") == self._identity:
                    self._arrays, self._peak = arrays, facts.get("peak_memory_bytes", 0)  # older files lack it
                    self.devices = [*(one for one in facts["devices"] if one != device), device]
            except sealed.Damaged as reason:
                self.warning = f"{path} {reason}; the evaluation begins anew"

    def table(self, name: str, rows: int, columns: int) -> Table:
        """The table of that name, with the rows that an earlier evaluation filled; the same object every time."""
        if name not in self._tables:
            kept = [self._arrays.get(f"{name}/{part}") for part in _PARTS]
            fits = all(old is not None for old in kept) and kept[0].shape[1:] == (columns,)  # type: ignore[union-attr]
            table = self._tables[name] = Table(max(rows, len(kept[1]) if fits else 0), columns, self)  # type: ignore[arg-type]
            for part, old in zip(_PARTS, kept, strict=True):
                if fits and old is not None:
                    getattr(table, part)[: len(old)] = old
        return self._tables[name]

    def kept(self, name: str) -> np.ndarray | None:
        """The array of that name, if an earlier evaluation kept one."""
        return self._arrays.get(name)

    def keep(self, name: str, array: np.ndarray) -> None:
        """Add an array, or replace it."""
        self._arrays[name] = array
        self.tick()

    def peak_memory_bytes(self) -> int:
        """Largest resident memory of all the processes that numbers in it took."""
        return max(self._peak, provenance.peak_memory_bytes())

    def tick(self) -> None:
        """Save now and then."""
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file.

        Raises
        ------
        UserError
            It cannot be written; the old one is unchanged.
        """
        self._saved = time.monotonic()
        if self._path is None:
            return
        for name, table in self._tables.items():
            self._arrays.update({f"{name}/{part}": getattr(table, part) for part in _PARTS})
        facts = {"identity": self._identity, "devices": self.devices, "peak_memory_bytes": self.peak_memory_bytes()}
        body = sealed.encode(self._arrays, facts)
        files.write_atomically(self._path, sealed.seal(body) + body)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.save()
