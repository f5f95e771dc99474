"""The records of the torture as tables in docs/reliability.md, each between its marks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parmesan_cagem import files

# What each part injects, for the table; the longest first, so that two at a time end together.
PARTS = {
    "kill": "`kill -9` at any moment of a run, an evaluation, a cache, the tables",
    "faults": "an operation on a file fails, is cut short, or is the last",
    "damage": "a file that is read is damaged, cut, or made to harm",
    "together": "bad mirrors, two processes at once, signals",
    "flags": "command lines",
    "soak": "300 epochs: NaN, memory, file handles",
    "determinism": "the same run again, elsewhere, otherwise",
    "numeric": "NaN or infinity in data, weights, bound, gradient",
}
RECORDS = Path("docs/records/torture")
PAGE = Path("docs/reliability.md")
BEGIN, END = "<!-- begin: python -m torture --table, {} -->", "<!-- end -->"


def parts() -> str:
    """What was injected, survived and lost, by part; a part without a record has empty cells."""
    rows = ["| part | what is injected | injected | survived | lost | minutes |", "|---|---|---:|---:|---:|---:|"]
    for part, what in PARTS.items():
        facts = _record(part)
        numbers = [f"{facts[key]:,}" for key in ("injected", "survived", "lost")] if facts else ["", "", ""]
        minutes = f"{facts['seconds'] / 60:.1f}" if facts else ""
        rows.append("| " + " | ".join([f"`{part}`", what, *numbers, minutes]) + " |")
    return "\n".join(rows)


def soak() -> str:
    """Memory and open files of every long run."""
    rows = [
        "| engine, `class_bn` | epochs | F, first and last, nats | resident MiB | rise, KiB an epoch | open files |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, run in _details("soak").items():
        if isinstance(run, dict):
            first, last = run["F"]
            memory, opened = (" to ".join(str(value) for value in run[key]) for key in ("rss_mib", "open_files"))
            rise = f"{run['rss_kib_per_epoch']:+.2f} ± {run['standard_error']:.2f}"
            cells = [name.replace("-", ", "), str(run["epochs"]), f"{first:.1f}, {last:.1f}", memory, rise, opened]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def determinism() -> str:
    """How far apart two runs were, relative, beside what is promised."""
    rows = ["| run: change | promised | weights, the matrix furthest apart | F of an epoch |", "|---|---|---:|---:|"]
    for name, found in _details("determinism").items():
        differences = ("none" if not found[key] else f"{found[key]:.1e}" for key in ("weights", "F"))
        rows.append(f"| {name} | {found['promised']} | {' | '.join(differences)} |")
    return "\n".join(rows)


TABLES = {"parts": parts, "soak": soak, "determinism": determinism}


def write() -> None:
    """Put every table between its marks in docs/reliability.md.

    Raises
    ------
    SystemExit
        The page lacks one of the marks; it is then as it was.
    """
    page = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        mark = BEGIN.format(name)
        before, begin, rest = page.partition(mark)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"{PAGE}: lacks {mark} or {END}")
        page = f"{before}{mark}\n{table()}\n{END}{after}"
    files.write_atomically(PAGE, page.encode())


def _details(part: str) -> Mapping[str, Any]:
    details: Mapping[str, Any] = _record(part).get("details", {})
    return details


def _record(part: str) -> dict[str, Any]:
    path = RECORDS / f"{part}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
