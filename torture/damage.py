"""Damaged and malicious files: none crashes, hangs, fills the memory, runs code, or reaches beyond its folder.

A fault is a file: one of some hundred thousand that were damaged at random (inside of what a digest would refuse at
once, where there is a digest), or one of those that somebody made to do harm. It is survived when its loader reads it
or refuses it with one clean line, within 5 s of its own time and 1 GiB of memory, and touches nothing else; a malicious
one must be refused. A file that a digest protects must mean the same if it is read at all.

    python -m torture.damage --json FILE [--files 110000] [--minutes 14] [--seed 1] [--only WORD]

Files that broke a promise are kept, and named. See damage_worker for how files are read and watched.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from torture import (
    damage_carried,
    damage_commands,
    damage_folders,
    damage_hdf5,
    damage_json,
    damage_mats,
    damage_mnist,
    damage_npz,
    damage_packs,
    damage_pickles,
    damage_records,
    damage_sealed,
    damage_zips,
    figures,
)
from torture.damage_malicious import Case, as_format
from torture.damage_worker import Format, Result, run

FORMATS = (
    damage_mnist,
    damage_pickles,
    damage_mats,
    damage_zips,
    damage_npz,
    damage_sealed,
    damage_records,
    damage_folders,
    damage_commands,
    damage_carried,
)
MALICIOUS = (
    damage_pickles,
    damage_mnist,
    damage_zips,
    damage_mats,
    damage_hdf5,
    damage_npz,
    damage_json,
    damage_commands,
    damage_packs,
)


def all_formats(with_models: bool) -> list[Format]:
    """Every format; those with a model take some seconds to build it."""
    made = [one for module in FORMATS for one in module.formats()]
    return [*made, *damage_carried.trained_formats()] if with_models else made


def all_cases() -> list[Case]:
    """Every malicious file, with the loader that must refuse it."""
    return [case for module in MALICIOUS for case in module.cases()]


def mutants(
    part: figures.Figures, formats: Sequence[Format], files: int, seed: int, keep: Path, minutes: float = 14
) -> None:
    """Read about so many files, shared out among the formats; what there is no time for is left out, and said."""
    total, clock, table = sum(one.share for one in formats), time.monotonic(), {}
    for number, one in enumerate(formats):
        count = max(1, round(files * one.share / total))
        left = 60 * minutes - (time.monotonic() - clock)
        result = Result() if left <= 0 else run(one, count, seed, keep)
        _count(part, one.name, result)
        table[one.name] = {
            "files": result.files,
            "read": result.read,
            "refused": result.refused,
            "lost": len(result.losses),
            "entry_point": one.public,
            "peak_mib": result.peak >> 20,
            "slowest_seconds": result.slowest,
        }
        done = sum(row["files"] for row in table.values())
        verdicts = f"{result.read} read, {result.refused} refused"
        part.say(f"{done:,} files, {number + 1} of {len(formats)} formats: {one.name}: {verdicts}")
        if result.files < count:
            part.say(f"{one.name}: only {result.files} of {count} files in the time")
    part.details["formats"] = table
    part.details["mutants"] = sum(row["files"] for row in table.values())
    part.details["through_entry_points"] = sum(row["files"] for row in table.values() if row["entry_point"])


def malicious(part: figures.Figures, cases: Sequence[Case], keep: Path) -> None:
    """Every file that was made to do harm must be refused."""
    table = {}
    for case in cases:
        result = run(as_format(case), 1, 1, keep)
        if result.read:
            result.losses.append(("was read", b""))
            result.read = 0
        _count(part, case[0], result)
        table[case[0]] = {"peak_mib": result.peak >> 20, "seconds": result.slowest}
    part.details["malicious"] = table
    part.say(f"{len(table)} malicious files")


def _count(part: figures.Figures, name: str, result: Result) -> None:
    part.survive(result.read + result.refused)
    for words, _ in result.losses:
        part.lose(f"{name}: {words}")
    peak = max(part.details.get("peak_bytes_above_start", 0), result.peak)
    part.details["peak_bytes_above_start"] = peak
    part.details["slowest_seconds"] = max(part.details.get("slowest_seconds", 0.0), result.slowest)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the part; its exit status."""
    parser = figures.arguments(__doc__)
    parser.add_argument("--files", type=int, default=110_000, metavar="N", help="damaged files (110000)")
    parser.add_argument("--minutes", type=float, default=14, metavar="M", help="begin no format after that (14)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of all random choices (1)")
    parser.add_argument(
        "--only", default="", metavar="WORD", help="formats and malicious files with that in their name"
    )
    args = parser.parse_args(argv)
    logging.disable(logging.CRITICAL)  # loaders warn of damaged caches, and say it a hundred thousand times
    part = figures.Figures("damage")
    part.details["seed"] = args.seed
    keep = Path(tempfile.mkdtemp(prefix="cagem-damaged-files-"))
    malicious(part, [case for case in all_cases() if args.only in case[0]], keep)
    formats = [one for one in all_formats(with_models=True) if args.only in one.name]
    mutants(part, formats, args.files, args.seed, keep, args.minutes)
    if any(path.stat().st_size for path in keep.iterdir()):
        print(f"damage: the files that broke a promise are in {keep}", file=sys.stderr)
    else:
        keep.rmdir()
    return part.finish(args.json)


if __name__ == "__main__":
    sys.exit(main())
