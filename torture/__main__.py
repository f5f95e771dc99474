"""Every part of the torture, to its end, and the table of what it found.

    python -m torture                    # all parts, two at a time: an hour on 2 cores
    python -m torture kill soak          # these alone
    python -m torture --table            # only rewrite the table in docs/reliability.md from the records

Each part is a program of its own (``python -m torture.PART --help``), whose output and record go to the folder of
--logs; when all have ended, the records become docs/records/torture/PART.json. A part that lost something does not stop
the others; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from parmesan_cagem import files

# What each injects, for the table; the longest first, so that two at a time end together.
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
BEGIN, END = "<!-- begin: python -m torture --table -->", "<!-- end -->"


def main(argv: list[str] | None = None) -> int:
    """Run the parts; 1 if any of them lost something or died."""
    parser = argparse.ArgumentParser(
        prog="python -m torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--jobs", type=int, default=2, help="parts at a time (default 2)")
    parser.add_argument("--logs", type=Path, default=Path("build/torture"), help="folder of their output")
    parser.add_argument("--table", action="store_true", help="run nothing")
    args = parser.parse_args(argv)
    unknown = [part for part in args.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    status = 0
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:  # as for background jobs: the victims would ignore it as well
            signal.signal(number, usual)
    if not args.table:
        args.logs.mkdir(parents=True, exist_ok=True)
        chosen = [part for part in PARTS if part in args.parts] or list(PARTS)
        with ThreadPoolExecutor(args.jobs) as pool:
            status = max(pool.map(lambda part: run(part, args.logs), chosen))
        for part in chosen:
            keep(part, args.logs)
    write_table()
    print(table())
    return status


def run(part: str, logs: Path) -> int:
    """Run one part to its end; 0 or 1."""
    clock, log = time.monotonic(), logs / f"{part}.log"
    print(f"{part}: begins; {log}", file=sys.stderr, flush=True)
    # Not where git has it: the checkout would be a changed one, in the midst of runs whose logs say whether it is.
    command = [sys.executable, "-m", f"torture.{part}", "--json", str(logs / f"{part}.json")]
    (logs / f"{part}.json").unlink(missing_ok=True)
    with log.open("wb") as stream:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream).returncode
    minutes = (time.monotonic() - clock) / 60
    print(f"{part}: exit status {status} after {minutes:.1f} minutes", file=sys.stderr, flush=True)
    return int(status != 0)


def keep(part: str, logs: Path) -> None:
    """Put a part's record where git has it; one that died has none, and the older one then stays."""
    found = logs / f"{part}.json"
    if found.exists():
        RECORDS.mkdir(parents=True, exist_ok=True)
        files.write_atomically(RECORDS / f"{part}.json", found.read_bytes())


def table() -> str:
    """The records as Markdown."""
    rows = ["| part | what is injected | injected | survived | lost | minutes |", "|---|---|---:|---:|---:|---:|"]
    for part, what in PARTS.items():
        facts = _record(part)
        numbers = [f"{facts[key]:,}" for key in ("injected", "survived", "lost")] if facts else ["", "", ""]
        minutes = f"{facts['seconds'] / 60:.1f}" if facts else ""
        rows.append("| " + " | ".join([f"`{part}`", what, *numbers, minutes]) + " |")
    return "\n".join(rows)


def write_table() -> None:
    """Put the table between its marks in docs/reliability.md."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE}: lacks {BEGIN} or {END}")
    files.write_atomically(PAGE, f"{before}{BEGIN}\n{table()}\n{END}{after}".encode())


def _record(part: str) -> dict[str, Any]:
    path = RECORDS / f"{part}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
