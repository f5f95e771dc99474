"""Every part of the torture, to its end, and the tables of what it found.

    python -m torture                    # all parts, two at a time: an hour on 2 cores
    python -m torture kill soak          # these alone
    python -m torture --table            # only rewrite the tables in docs/reliability.md from the records

Each part is a program of its own (``python -m torture.PART --help``), whose output and record go to the folder of
--logs; when all have ended, the records become docs/records/torture/PART.json. A part that lost something does not stop
the others; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from parmesan_cagem import files
from torture import tables
from torture.tables import PARTS, RECORDS


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
    tables.write()
    print(tables.parts())
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


if __name__ == "__main__":
    raise SystemExit(main())
