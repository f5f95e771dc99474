"""What an evaluation has found so far, image by image: whoever goes on after a kill computes only what is missing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parmesan_cagem import files, finite, provenance, sealed
from parmesan_cagem.errors import UserError

LEDGER = "evaluation.h5"  # of the evaluation that becomes a run's record
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

    def grow(self, rows: int) -> None:
        """Have at least so many rows."""
        more = rows - len(self.done)
        if more > 0:
            self.values = np.pad(self.values, ((0, more), (0, 0)))
            self.done, self.seconds = np.pad(self.done, (0, more)), np.pad(self.seconds, (0, more))

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
    device : str or None
        Of this process; None where it computes nothing: neither its device nor its memory counts.

    Raises
    ------
    NumericalError
        The file holds NaN or Inf.

    Attributes
    ----------
    warning : str or None
        Why a file that was there could not be used.
    devices : list of str
        All that numbers in it were computed on, this process's last.
    identity : dict
    """

    def __init__(
        self, path: Path | None = None, identity: Mapping[str, Any] | None = None, device: str | None = ""
    ) -> None:
        self._path, self.identity, self._computes = path, dict(identity or {}), device is not None
        self._source = path  # for messages
        self._arrays: dict[str, np.ndarray] = {}
        self._tables: dict[str, Table] = {}
        self._saved = time.monotonic()
        self.warning: str | None = None
        self.devices: list[str] = []
        self._peak = 0
        if path is not None and path.exists():
            try:
                kept = Ledger.read(path)
                if kept.identity == self.identity:
                    kept._require_finite()
                    self._arrays, self._peak, self.devices = kept._arrays, kept._peak, kept.devices
            except sealed.Unreadable as reason:  # the next save would replace what hours have computed
                raise UserError(f"{path} {reason}; make it readable, or remove it") from None
            except sealed.Damaged as reason:
                self.warning = f"{path} {reason}; the evaluation begins anew"
        if device is not None:
            self.devices = [*(one for one in self.devices if one != device), device]

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """What the file at ``path`` holds, in memory.

        Raises
        ------
        Damaged
        """
        arrays, facts = sealed.decode(sealed.read(path))
        devices: Any
        devices, peak = facts.get("devices"), facts.get("peak_memory_bytes", 0)  # older files lack the latter
        named = isinstance(facts.get("identity"), dict) and type(peak) is int and _are_tables(arrays)
        if not named or not isinstance(devices, list) or not all(isinstance(one, str) for one in devices):
            raise sealed.Damaged("holds no evaluation")
        ledger = cls(identity=facts["identity"], device=None)
        ledger._arrays, ledger.devices, ledger._peak, ledger._source = arrays, devices, peak, path
        return ledger

    def _require_finite(self) -> None:
        """Refuse to build on a file with NaN or Inf: no evaluation keeps such a row, so none of the others is sure."""
        if bad := finite.faults(self._arrays):
            raise finite.NumericalError(f"{self._source}: {finite.words(bad)}; remove that file and evaluate anew")

    def absorb(self, other: Ledger) -> None:
        """Take over the rows that another ledger has filled, its arrays, devices and memory.

        Raises
        ------
        NumericalError
            One of its numbers is NaN or Inf.
        """
        other._gather()
        other._require_finite()
        for name in [key.removesuffix("/done") for key in other._arrays if key.endswith("/done")]:
            values = other._arrays.get(f"{name}/values")
            if values is None or values.ndim != 2:  # rows that count as missing
                continue
            theirs = other.table(name, 0, values.shape[1])
            ours = self.table(name, len(theirs.done), values.shape[1])
            filled = np.flatnonzero(theirs.done)
            for part in _PARTS:
                getattr(ours, part)[filled] = getattr(theirs, part)[filled]
        rows = tuple(f"/{part}" for part in _PARTS)
        self._arrays.update({name: array for name, array in other._arrays.items() if not name.endswith(rows)})
        self.devices = [*self.devices, *(one for one in other.devices if one not in self.devices)]
        self._peak = max(self._peak, other._peak)

    def table(self, name: str, rows: int, columns: int) -> Table:
        """The table of that name, with the rows that an earlier evaluation filled; the same object every time."""
        if name not in self._tables:
            kept = [self._arrays.get(f"{name}/{part}") for part in _PARTS]
            fits = all(old is not None for old in kept) and kept[0].shape[1:] == (columns,)  # type: ignore[union-attr]
            table = self._tables[name] = Table(max(rows, len(kept[1]) if fits else 0), columns, self)  # type: ignore[arg-type]
            for part, old in zip(_PARTS, kept, strict=True):
                if fits and old is not None:
                    getattr(table, part)[: len(old)] = old
        self._tables[name].grow(rows)
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
        return max(self._peak, provenance.peak_memory_bytes() if self._computes else 0)

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
        self._gather()
        facts = {"identity": self.identity, "devices": self.devices, "peak_memory_bytes": self.peak_memory_bytes()}
        body = sealed.encode(self._arrays, facts)
        files.write_atomically(self._path, sealed.seal(body) + body)

    def _gather(self) -> None:
        for name, table in self._tables.items():
            self._arrays.update({f"{name}/{part}": getattr(table, part) for part in _PARTS})

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.save()


def _are_tables(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether the parts of each table have one length, and their types."""
    for name in [key.removesuffix("/done") for key in arrays if key.endswith("/done")]:
        done, values, seconds = (arrays.get(f"{name}/{part}") for part in ("done", "values", "seconds"))
        if done is None or done.dtype != np.bool_ or done.ndim != 1:
            return False
        if values is not None and (values.dtype != np.float64 or values.ndim != 2 or len(values) != len(done)):
            return False
        if seconds is not None and (seconds.dtype != np.float64 or seconds.shape != done.shape):
            return False
    return True
