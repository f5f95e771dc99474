"""Bad command lines, by the ten thousand: ``python -m torture.flags --json FILE``.

Every flag of every command is fuzzed (:mod:`torture.flags_lines` reads them off the parsers): in this process, where
the work itself is left out, with every extreme value alone and with Hypothesis' mixtures; then in processes of their
own, as a user starts them. Promised is that a line ends in success (in this process: begins), or is refused with exit
status 2 and one line, before anything is written; that a process says what this one said; and that ``--help`` answers
within a second without Theano, Lasagne, JAX or h5py.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase

from torture import figures, flags_lines, flags_real
from torture.figures import Figures
from torture.flags_inside import Fault, Judge, world
from torture.flags_lines import Command, commands, lines, singles

ROOT = Path(__file__).resolve().parent.parent
MEMORY = 10 * 2**30  # bytes of this process: what reads a device without end must not take the machine with it
PART = 100  # of Hypothesis' lines, between two looks at the clock


def sweep(judge: Judge, found: Figures, command: Command, tried: Iterable[Sequence[str]]) -> Counter[str]:
    """Try the lines; returns how many ended how."""
    ends: Counter[str] = Counter()
    for number, line in enumerate(tried):
        try:
            ends[judge(command, line, "ascii" if (number + len(line)) % 2 else "utf-8")[0]] += 1
            found.survive()
        except Fault as fault:
            ends["fault"] += 1
            found.lose(str(fault))
    return ends


def mixtures(judge: Judge, found: Figures, command: Command, count: int, seed: int) -> Counter[str]:
    """As many of Hypothesis' lines; of those that fail alike, the shortest is told."""
    ends: Counter[str] = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(lines(command))
    def holds(line: tuple[str, ...]) -> None:
        ends[judge(command, line, "ascii" if len(line) % 2 else "utf-8")[0]] += 1

    try:
        holds()
    except Fault as fault:
        ends["fault"] += 1
        found.lose(str(fault))
    found.survive(ends.total() - ends["fault"])
    return ends


def inside(found: Figures, run: Path, seed: int, minutes: float) -> dict[str, object]:
    """Every extreme value alone, in an order drawn from ``seed``, for three quarters of the time; then mixtures.

    Parameters
    ----------
    run : Path
        A run's folder, evaluated.
    """
    start, every = time.monotonic(), commands()
    ends: dict[str, Counter[str]] = {command.title: Counter() for command in every}
    alone = [(command, line) for command in every for line in singles(command)]
    random.Random(seed).shuffle(alone)
    tried = mixed = 0
    with world(run) as judge:
        for command, line in alone:
            if time.monotonic() - start > 45 * minutes:
                break
            ends[command.title] += sweep(judge, found, command, [line])
            tried += 1
            if tried % 2000 == 0:
                found.say(f"{tried} of {len(alone)} single values tried")
        found.say(f"{tried} of {len(alone)} single values tried")
        for part in itertools.count():
            if time.monotonic() - start > 60 * minutes:
                break
            command = every[part % len(every)]
            counts = mixtures(judge, found, command, PART, seed * 10_000 + part)
            ends[command.title] += counts
            mixed += counts.total()
        found.say(f"{mixed} mixtures tried")
    told = {title: dict(counts) for title, counts in ends.items()}
    return {"single_values": tried, "of": len(alone), "mixtures": mixed, "ends": told}


def fixture(folder: Path) -> Path:
    """A run of seconds with its record, made by the real script."""
    flags = ["--preset", "smoke", "--labels", "20", "--no-progress", "--name", "real", "--out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "run_mnist.py"), *flags, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    if done.returncode:
        raise SystemExit(f"torture.flags: the run that it needs failed: {done.stderr}")
    return folder / "real"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the part; 0 if nothing was lost."""
    parser = figures.arguments(__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5.0, help="of the lines in this process (default 5)")
    parser.add_argument("--processes", type=int, default=80, help="lines with a process of their own (default 80)")
    args = parser.parse_args(argv)
    found = Figures("flags")
    with tempfile.TemporaryDirectory(prefix="torture-flags-run-") as folder:
        run = fixture(Path(folder))
        found.say("a run to name is there")
        found.details["real"] = flags_real.real(found, run, args.seed, args.processes)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        found.details["inside"] = inside(found, run, args.seed, args.minutes)
    flags = {command.title: [flag.name or "(a word)" for flag in command.flags] for command in commands()}
    found.details |= {"seed": args.seed, "flags": {title: len(names) for title, names in flags.items()}}
    found.details["values"] = len(flags_lines.EVERY)
    return found.finish(args.json)


if __name__ == "__main__":
    sys.exit(main())
