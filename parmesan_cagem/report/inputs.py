"""What the report is made of: the runs and figures on the disk."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parmesan_cagem import files, records
from parmesan_cagem.errors import UserError


@dataclass(frozen=True, eq=False)
class Run:
    """A run with a record.

    Attributes
    ----------
    folder : Path
    record : dict
        Schema 2, validated.
    curves, samples : bytes or None
        The SVG of ``cagem figures`` and the run's own PNG; None where there is none.
    """

    folder: Path
    record: dict[str, Any]
    curves: bytes | None
    samples: bytes | None


def collect(runs: Path, figures: Path) -> tuple[list[Run], list[str]]:
    """Every run below ``runs`` that has a record, by name, and why others are left out, a line each.

    Raises
    ------
    UserError
        ``runs`` is no folder.
    """
    try:
        folders = sorted(path for path in runs.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(
            f"--runs {runs}: cannot read: {files.cause(error)}; name the folder of the runs, by default results/runs"
        ) from error
    found, left_out = [], []
    for folder in folders:
        if not (folder / "record.json").exists():
            left_out.append(f"{folder.name}: no record yet; finish it with --resume, or `cagem evaluate RUN`")
            continue
        try:
            record = records.read(folder / "record.json")
        except UserError as error:  # one bad file does not hide the other runs, nor does it hide itself
            left_out.append(str(error).replace(str(folder), folder.name, 1))
            continue
        curves = read(curves_path(figures, folder.name))
        found.append(Run(folder, record, curves, read(folder / "samples.png")))
    return found, left_out


def curves_path(figures: Path, run: str) -> Path:
    """Where ``cagem figures`` draws the training curves of a run."""
    return figures / f"curves-{run}.svg"


def read(path: Path) -> bytes | None:
    """The file's bytes; None where there is none."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return None
