"""A real full disk: a small tmpfs on which a run's files find no room, one kind after the other.

The run is a real one, in small: trained, logged, saved, evaluated and put into a table. Before each of its pieces the
disk is filled but for a few pages, the piece is tried, and must say so in one line; then the filling is removed and the
piece goes on. In the end the files hold what an undisturbed run's hold, to the bit.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from parmesan_cagem import checkpoint, records
from parmesan_cagem.config import MAY_CHANGE
from parmesan_cagem.errors import UserError
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.runfolder import RunFolder
from torture.faults_state import same, state

CONFIG = {"labels": 100, "epochs": 2}
Piece = Callable[[Path], None]


@contextlib.contextmanager
def small_disk(folder: Path, mib: int = 4) -> Iterator[str | None]:
    """A tmpfs of that size, mounted on ``folder``; yields why there is none, or None."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        yield str(error)
        return
    if done.returncode:
        yield f"no tmpfs can be mounted here: {done.stderr.strip() or done.returncode}"
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def fill(path: Path, leave: int) -> None:
    """Write a file until the disk is full; then give ``leave`` bytes back."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(bytes(1 << 9)):
            pass
    os.truncate(path, max(0, path.stat().st_size - leave))


def _settings(disk: Path) -> None:
    run = disk / "run"
    if not (run / "config.json").exists():
        RunFolder.create(run, CONFIG).close()


def _log(disk: Path) -> None:
    with RunFolder.open(disk / "run", CONFIG, MAY_CHANGE) as folder:
        folder.truncate_log(0)
        for epoch in range(200):
            folder.append_log({"epoch": epoch, "F": -90.0 - epoch / 7, "padding": [0.1] * 20})


def _checkpoint(step: int) -> Piece:
    def save(disk: Path) -> None:
        rng = np.random.default_rng(step)
        checkpoint.save(disk / "run", {"weights/W": rng.standard_normal((200, 200))}, {"step": step})

    return save


def _ledger(disk: Path) -> None:
    with Ledger(disk / "run" / "evaluation.h5", {"weights": "0"}, "a toy") as ledger:
        ledger.table("bounds", 2000, 5).put(np.arange(1500), np.random.default_rng(0).random((1500, 5)), 1.0)


def _record(disk: Path) -> None:
    from record_example import example

    records.write(disk / "run" / "record.json", example())


def _tables(disk: Path) -> None:
    from parmesan_cagem import cli

    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        status = cli.main(["tables", "--records", str(disk / "run" / "record.json"), "--out", str(disk / "tables")])
    if status:
        raise UserError(told.getvalue())


# Bytes of room: a page for what comes before the file that is to fail, or for the first lines of the log.
LEAVE = {"log.jsonl": 8192, "checkpoint.h5 of a training": 16384}
GROWING = {"run/log.jsonl", "small/run/log.jsonl", "small/run/config.json", "small/run/labels.json"}
PIECES: dict[str, Piece] = {
    "config.json": _settings,
    "log.jsonl": _log,
    "checkpoint.h5": _checkpoint(1),
    "checkpoint.h5 over another": _checkpoint(2),
    "evaluation.h5": _ledger,
    "record.json": _record,
    "tables/TABLES.md": _tables,
}


def losses(scratch: Path, training: bool) -> Iterator[tuple[str, str]]:
    """For each piece of a run, its name and which promise a full disk broke (empty: none).

    Parameters
    ----------
    scratch : Path
    training : bool
        Also of a run that trains and evaluates a model: seconds, and Theano.

    Raises
    ------
    OSError
        No tmpfs can be mounted here; its text says why.
    """
    undisturbed, mounted = scratch / "undisturbed", scratch / "disk"
    pieces = PIECES | (_trained() if training else {})
    for piece in pieces.values():
        piece(undisturbed)
    with small_disk(mounted) as missing:
        if missing:
            raise OSError(errno.EPERM, missing)
        for name, piece in pieces.items():
            yield name, _tried(piece, name, mounted)
        if not same(state(mounted), state(undisturbed)):
            yield "all", "after space was freed, the run is not that of a disk with room"


def _tried(piece: Piece, name: str, mounted: Path) -> str:
    """Try it on the full disk, free space, go on."""
    before, filling, own = state(mounted), mounted / "filling", name.split(" ")[0]
    fill(filling, LEAVE.get(name, 0))
    told = ""
    try:
        piece(mounted)
    except UserError as error:
        told = str(error)
    filling.unlink()
    left = state(mounted)
    log = left.get("run/log.jsonl", b"")
    if not told:
        lost = "a full disk went unnoticed"
    elif own not in told or os.strerror(errno.ENOSPC) not in told or "\n" in told.strip():
        lost = f"not one line with the file and the cause: {told}"
    elif changed := [key for key in {*before, *left} - GROWING if left.get(key) != before.get(key)]:
        lost = f"the old state is gone: {sorted(changed)}"
    else:
        lost = "half a line in the log" if log and not log.endswith(b"\n") else ""
    piece(mounted)
    stray = [path.name for path in mounted.rglob(".*.tmp")]
    return lost or (f"stray: {', '.join(stray)}" if stray else "")


def _trained() -> dict[str, Piece]:
    """A run of two epochs whose second checkpoint finds no room, nor does what its evaluation has found."""
    from small_runs import RUN, called

    def command(*words: object) -> Piece:
        def act(disk: Path) -> None:
            out = ("--out", disk / "small") if words[0] == "run_mnist.py" else (disk / "small" / "run",)
            status, _, told = called(words[0], *(RUN if "--out" in out else ["evaluate"]), *words[1:], *out)
            if status:
                raise UserError(told)

        return act

    flags = ("--model", "vae", "--labels", "0", "--layers", "1", "--train-only", "--resume-if-begun")
    return {
        "config.json of a training": command("run_mnist.py", *flags),
        "checkpoint.h5 of a training": command("run_mnist.py", *flags, "--epochs", "2"),
        "evaluation.h5 of a trained run": command("cagem", "--no-progress"),
    }
