"""Every file operation fails once, beneath Python: ``python -m torture.faults [--only NAME ...] [--json FILE]``.

Each *scenario* writes what the package writes: checkpoints, logs, records, ledgers, caches, tables, figures, packs, and
whole runs. A library loaded before the C library counts its file operations (``failing.c``); then the scenario is
played once for each operation and each kind of fault: ENOSPC, EIO, EROFS, a full or read-only file system from there
on, short writes, and crashes before, half way and after. *Survived* means:

* the exit status is 2 and one line names file and cause, or (where the operation does not matter) it is 0 and the
  result is that without a fault;
* the old state is intact, byte for byte;
* after the next start no stray file is left, and everything is as without a fault.

The last scenario, ``disk``, is a real full disk (``full_disk.py``), where a tmpfs can be mounted.
"""

from __future__ import annotations

import collections
import os
import shutil
import sys
import tempfile
from pathlib import Path

from torture import failing, figures
from torture.faults_judge import Stage, faults, subject


def main() -> int:
    """Play the scenarios; 1 if a promise was broken."""
    compiled = failing.restart_with_library("torture.faults")
    parser = figures.arguments(__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="scenarios whose names begin so (default all)")
    parser.add_argument("--sparse", action="store_true", help="at each operation one error, short write and crash only")
    parser.add_argument("--seed", type=int, default=0, help="which fault of each kind a long scenario begins with")
    args = parser.parse_args()
    from torture import faults_scenarios  # after the restart: these import Theano

    library, found = failing.Library(), figures.Figures("faults")
    # In memory, where fsync takes no time; without symbolic links, as failing.c wants it.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    scratch = Path(tempfile.mkdtemp(prefix="faults-", dir=memory)).resolve()
    harmless: collections.Counter[str] = collections.Counter()
    per_scenario = {}
    for scenario in faults_scenarios.every(args.only, scratch):
        stage = Stage(scenario, scratch / scenario.name.replace(" ", "-"), library)
        before, missed = found.injected, 0
        for number, (kind, path) in enumerate(stage.operations, start=1):
            for fault in faults(number + args.seed, kind, scenario.thorough and not args.sparse):
                lost, outcome = stage.play(failing.Fault(number, fault.mode, fault.code))
                what = f"{scenario.name}: operation {number}, {kind} {path.name}, {fault}"
                if lost is None:
                    missed += 1
                    continue
                if lost:
                    found.lose(f"{what}: {lost}")
                    continue
                found.survive()
                if outcome.status == 0 and fault.mode != failing.SHORT:
                    harmless[f"{scenario.name}: {kind} {subject(path)}"] += 1
        count = found.injected - before
        per_scenario[scenario.name] = {"operations": len(stage.operations), "faults": count, "not reached": missed}
        found.say(f"{scenario.name}: {len(stage.operations)} operations, {count} faults")
    found.details = {"scenarios": per_scenario, "harmless": dict(sorted(harmless.items()))}
    if args.only is None or "disk" in args.only:
        found.details["full disk"] = _full_disk(found, scratch / "disk", training=args.only is None)
    shutil.rmtree(compiled or "", ignore_errors=True)
    return found.finish(args.json, scratch)


def _full_disk(found: figures.Figures, scratch: Path, training: bool) -> list[str]:
    """What was tried on a real full disk; why not, if it could not be."""
    from torture import full_disk

    tried = []
    try:
        for name, lost in full_disk.losses(scratch, training):
            tried.append(name)
            if lost:
                found.lose(f"full disk: {name}: {lost}")
            else:
                found.survive()
    except OSError as error:
        tried.append(f"left out: {error.strerror}")
    found.say(f"full disk: {'; '.join(tried)}")
    return tried


if __name__ == "__main__":
    sys.exit(main())
