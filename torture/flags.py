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
            ends[judge(command, line, "ascii" if number % 2 else "utf-8")[0]] += 1
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


def inside(found: Figures, run: Path, seed: int, minutes: float, share: float = 1.0) -> dict[str, dict[str, int]]:
    """Every extreme value alone, then mixtures until the time is over.

    Parameters
    ----------
    run : Path
        A run's folder, evaluated.
    share : float
        Of the single values that are tried, chosen by ``seed``.
    """
    draws, end = random.Random(seed), time.monotonic() + 60 * minutes
    ends: dict[str, Counter[str]] = {}
    with world(run) as judge:
        every = commands()
        for command in every:
            tried = [line for line in singles(command) if share == 1 or draws.random() < share]
            ends[command.title] = sweep(judge, found, command, tried)
            found.say(f"{command.title}: {len(command.flags)} flags, {dict(ends[command.title])}")
        for part in itertools.count():
            for command in every:
                if time.monotonic() > end:
                    return {title: dict(counts) for title, counts in ends.items()}
                ends[command.title] += mixtures(judge, found, command, PART, seed * 10_000 + part)
    return {}


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
    parser.add_argument("--processes", type=int, default=120, help="lines with a process of their own (default 120)")
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
