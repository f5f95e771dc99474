"""What the report is made of: the runs and figures on the disk."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parmesan_cagem import files, records
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import runs as table_runs
from parmesan_cagem.report.markup import Ids

PICTURE_BYTES = 8 << 20  # each is inlined; ours have a quarter of a megabyte


@dataclass(frozen=True, eq=False)
class Run:
    """A run with a record.

    Attributes
    ----------
    name : str
        Of its folder.
    id : str
        Of its page.
    folder : Path
    record : dict
        As the schema says.
    of_tables : parmesan_cagem.report.runs.Run or None
        What tables are made from; None for a record that they refuse, as one whose source nobody knows.
    curves, samples : bytes or None
        The SVG of ``cagem figures`` and the run's own PNG; None where there is none.
    """

    name: str
    id: str
    folder: Path
    record: dict[str, Any]
    of_tables: table_runs.Run | None
    curves: bytes | None
    samples: bytes | None


def collect(runs: Path, figures: Path) -> tuple[list[Run], list[str]]:
    """Every run in ``runs`` that has a record, by name; and a line for each that the page or its tables leave out.

    Raises
    ------
    UserError
        ``runs`` cannot be read.
    """
    try:
        folders = sorted(path for path in runs.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(
            f"--runs {runs}: cannot read: {files.cause(error)}; name the folder of the runs, by default results/runs"
        ) from error
    found, left_out, ids = [], [], Ids()
    for folder in folders:
        name = folder.name
        if not (folder / "record.json").exists():
            left_out.append(f"{name}: no record yet; finish it with --resume, or `cagem evaluate RUN`")
            continue
        try:
            record = records.read(folder / "record.json")
        except UserError as error:  # one bad file does not hide the other runs, nor does it hide itself
            left_out.append(str(error).replace(str(folder), name))
            continue
        of_tables = None
        try:
            (of_tables,) = table_runs.read([folder / "record.json"])
        except UserError as error:
            left_out.append(f"in no table: {str(error).replace(str(folder), name)}")
        curves, samples = read(figures / f"curves-{name}.svg"), read(folder / "samples.png")
        found.append(Run(name, ids.new("run-", name), folder, record, of_tables, curves, samples))
    return found, left_out


def read(path: Path) -> bytes | None:
    """The file's bytes; None where there is none, or none that belongs into a page."""
    with contextlib.suppress(OSError):
        return files.read_bytes(path, PICTURE_BYTES)
    return None
