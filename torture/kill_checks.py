"""What must hold of a run's folder after ``kill -9``, and where the kill struck by what it left."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import checkpoint, config, files, ledger, records, runfolder, sealed, trained
from parmesan_cagem.errors import UserError
from parmesan_cagem.image_bounds import NAME
from parmesan_cagem.ledger import LEDGER
from parmesan_cagem.recording import SAMPLES
from torture import kill_aim

TIMES = ("started", "train_seconds", "peak_memory_bytes", "finished", "seconds", "epoch_seconds", "log_size")
WHOLE = ("config.json", "labels.json", "record.json", "record.former-1.json", NAME, SAMPLES)


class Broken(Exception):
    """A promise does not hold; the words say which."""


def require(holds: bool, what: str) -> None:
    """Raise `Broken` unless it holds."""
    if not holds:
        raise Broken(what)


def timeless(value: Any) -> Any:
    """Without what the clock and the memory say: the rest must be the same to the bit."""
    if not isinstance(value, dict):
        return value
    return {key: timeless(child) for key, child in value.items() if key not in TIMES}


@dataclass(frozen=True)
class State:
    """A run's folder at a moment; made by `look`, which raises where a part of it does not load.

    Attributes
    ----------
    names : dict
        Name -> (inode, time of the last change): other numbers say that it was written.
    log : list of dict
        Whole lines, without times.
    torn : bool
        Whether the log ends in half a line.
    epoch : int
        Of the checkpoint; 0 without one.
    whole : dict
        The files that are written at once, by name, without times.
    rows : dict
        Table of the ledger -> its rows, those that are done.
    """

    names: dict[str, tuple[int, int]] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    torn: bool = False
    epoch: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    whole: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def logged(self) -> int:
        """Epochs in the log."""
        return max((line.get("epoch", 0) for line in self.log), default=0)


def look(folder: Path) -> State:
    """Load all that there is.

    Raises
    ------
    Broken
        Something there does not load: no reader of the package could use it.
    """
    names = {e.name: (e.inode(), e.stat(follow_symlinks=False).st_mtime_ns) for e in os.scandir(folder)}
    try:
        log = [timeless(line) for line in runfolder.read_log(folder)]
        torn = _torn(folder)
        facts: dict[str, Any] = {}
        arrays: dict[str, np.ndarray] = {}
        if checkpoint.exists(folder):
            saved = checkpoint.load(folder)
            require(not saved.warnings, f"the newest checkpoint cannot be used: {saved.warnings}")
            facts, arrays = saved.attributes, saved.arrays
            trained.identify(folder)
            if checkpoint.PREVIOUS in names:  # the one that stands in when the newest is damaged
                sealed.decode(sealed.read(folder / checkpoint.PREVIOUS))
        whole: dict[str, Any] = {}
        for name in WHOLE:
            if name in names and name.startswith("record"):
                whole[name] = timeless(records.read(folder / name))
            elif name in names:
                data = (folder / name).read_bytes()
                whole[name] = data if name in (NAME, SAMPLES) else files.read_json(folder / name, "")
        rows = _rows(folder / LEDGER) if LEDGER in names else {}
    except (UserError, sealed.Damaged) as error:
        raise Broken(f"does not load: {error}") from error
    return State(names, log, torn, facts.get("epoch", 0), timeless(facts), arrays, whole, rows)


def _torn(folder: Path) -> bool:
    path = folder / "log.jsonl"
    return path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")


def _rows(path: Path) -> dict[str, np.ndarray]:
    """The rows that are done, NaN elsewhere, by table."""
    held = ledger.Ledger.read(path)
    held._gather()
    found = {}
    for name in [key.removesuffix("/values") for key in held._arrays if key.endswith("/values")]:
        values, done = held._arrays[f"{name}/values"], held._arrays[f"{name}/done"]
        found[name] = np.where(done[:, None], values, np.nan)
    return found


def check_after_kill(folder: Path, before: State, references: list[State], every: int, killed: float) -> State:
    """All that holds at any moment of a run's life; returns what is there.

    Parameters
    ----------
    folder : Path
        The run's; its process has just been killed.
    before : State
        When that process began.
    references : list of State
        Of uninterrupted runs, at the ends of their stages, the last with all that an earlier one has.
    every : int
        ``--checkpoint-every``.
    killed : float
        When, as ``time.time`` counts.
    """
    now, last = look(folder), references[-1]
    for name, content in now.whole.items():
        allowed = [one.whole.get(name) for one in references]
        require(content in allowed, f"{name} is none that an uninterrupted run writes")
    require(now.log == last.log[: len(now.log)], "the log is not the beginning of an uninterrupted run's")
    require(now.epoch >= before.epoch, f"the checkpoint went back from epoch {before.epoch} to {now.epoch}")
    require(now.epoch <= now.logged, f"epoch {now.epoch} is saved, {now.logged} are logged")
    require(lost_epochs(now) <= every, f"{lost_epochs(now)} finished epochs are lost; --checkpoint-every is {every}")
    for name, rows in now.rows.items():
        require(_agree(rows, last.rows[name]), f"evaluation.h5: {name}: a row differs from the uninterrupted run's")
    for name, rows in before.rows.items():
        done = np.isfinite(now.rows.get(name, np.zeros((0, 1)))[:, 0]).sum()
        require(done >= np.isfinite(rows[:, 0]).sum(), f"evaluation.h5: {name}: rows that were saved are gone")
    _open_a_copy(folder)
    left = {name for name in kill_aim.strays(folder) if name in before.names}
    lock = now.names.get("lock")  # every process labels it when it opens the folder, and sweeps next
    opened = lock is not None and lock != before.names.get("lock") and lock[1] / 1e9 < killed - 0.1
    require(not (left and opened), f"stray files stayed after the next start: {sorted(left)}")
    return now


def _agree(rows: np.ndarray, expected: np.ndarray) -> bool:
    done = np.isfinite(rows[:, 0])
    return bool(len(rows) <= len(expected)) and rows[done].tobytes() == expected[: len(rows)][done].tobytes()


def _open_a_copy(folder: Path) -> None:
    """Open a copy of the folder as ``--resume`` does. (Opening sweeps; the next process is to find it as it is.)"""
    copy = folder.with_name(folder.name + ".copy")
    shutil.copytree(folder, copy)
    try:
        if (copy / "config.json").exists():
            settings = files.read_json(copy / "config.json", "")
            opened = runfolder.RunFolder.open(copy, settings, config.MAY_CHANGE)
        else:
            opened = runfolder.RunFolder.create(copy, {})
        with opened as run:
            run.read_log()
            require(not _torn(copy), "opening the run leaves half a line in its log")
        require(not kill_aim.strays(copy), f"stray files stay after opening it: {sorted(kill_aim.strays(copy))}")
    except UserError as error:
        raise Broken(f"cannot be opened: {error}") from error
    finally:
        shutil.rmtree(copy)


def lost_epochs(now: State) -> int:
    """Finished epochs that the next process must compute again."""
    return now.logged - now.epoch


def check_finished(folder: Path, reference: State) -> None:
    """Equal to an uninterrupted run, bit for bit, in all but its times; and nothing else in the folder."""
    now = look(folder)
    require(sorted(now.names) == sorted(reference.names), f"files {sorted(now.names)}, not {sorted(reference.names)}")
    require(now.log == reference.log, "the log differs")
    require(now.facts == reference.facts, "the checkpoint's plain values differ")
    require(list(now.arrays) == list(reference.arrays), "the checkpoint's arrays have other names")
    for name, array in reference.arrays.items():
        same = (now.arrays[name].dtype, now.arrays[name].shape) == (array.dtype, array.shape)
        require(same and now.arrays[name].tobytes() == array.tobytes(), f"the array {name} differs")
    for name, content in reference.whole.items():
        require(now.whole[name] == content, f"{name} differs")
    require(now.rows.keys() == reference.rows.keys(), "evaluation.h5 has other tables")
    for name, rows in reference.rows.items():
        require(now.rows[name].tobytes() == rows.tobytes(), f"evaluation.h5: {name} differs")


def phase(before: State, now: State, epochs: int, every: int) -> str:
    """Where the kill struck, by what stands in the folder and did not before."""
    new = sorted(name for name in now.names if name.endswith(".tmp") and name not in before.names)
    written_whole = ("config.json", "labels.json", "record.json", SAMPLES, NAME, LEDGER, "record.former-1.json")
    for stem in written_whole:
        if any(name.startswith(f".{stem}.") for name in new):
            return f"writing {stem}"
    if any(name.startswith(f".{checkpoint.PREVIOUS}.") for name in new):
        return "checkpoint: rotating"
    if new:
        return "checkpoint: writing"
    if now.torn:
        return "log line torn"

    def written(name: str) -> bool:
        return now.names.get(name) != before.names.get(name)

    if now.epoch < epochs:
        if not written("lock"):
            return "start: imports"
        due = now.logged and (now.logged % every == 0 or now.logged == epochs)
        if due and now.logged > now.epoch and written("log.jsonl"):
            return "log line written, checkpoint not yet"
        moved = written("log.jsonl") or written(checkpoint.NEWEST)
        return "training steps" if moved else "start: compiling or first steps"
    if written("record.json"):
        return "record written"
    if written(SAMPLES):
        return "samples written, record not yet"
    if written(LEDGER):
        return "evaluation.h5 written, samples not yet"
    if not written("lock"):
        return "start: imports"
    return "evaluating" if written(checkpoint.NEWEST) else "start: compiling, or evaluating"
