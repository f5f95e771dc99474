"""What repeats to the bit, what up to rounding, and what not: each promise held against real processes.

A run of real digits is trained by ``run_mnist.py`` in a process of its own, then again with one thing changed that must
not matter (surroundings, blocks, a break, cores), or that may move the rounding (threads, devices, the engine), or that
must matter (the seed). Compared are all arrays of the checkpoint (weights, moments, streams), the log without its times
and, where the run was evaluated, its record's numbers. The comparison at the paper's widths takes a few steps of them.

Survived is a promise that held: ``SAME`` every bit; ``ROUNDING`` F of every epoch within ``NEAR``, the labels and the
random streams in every bit; ``OTHER`` weights, log and labels all differ. The figures tell how far apart two runs were.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import checkpoint
from torture import figures as torture_figures
from torture.figures import Figures

ROOT = Path(__file__).resolve().parent.parent
SAME, ROUNDING, OTHER = "every bit", "up to rounding", "different"
NEAR = 1e-2  # of F, relative, after two epochs: rounding that Adam has amplified (docs/engines.md: 6e-4 after 50 steps)
SMALL = ("--preset", "smoke", "--labels", "20", "--no-progress")
WIDE = (
    "--preset",
    "demo",
    "--labels",
    "100",
    "--train-images",
    "300",
    "--epochs",
    "1",
    "--no-progress",
    "--train-only",
)
TIMEOUT = 1800  # seconds that a process may take: a quarter of a minute when nothing else runs
# Steps of one block, however quick they are; 10 growing ones otherwise.
BLOCKS = "from parmesan_cagem import training as t; t.BLOCK, t.BLOCK_SECONDS = {}, 0.0"
PROGRAM = "import sys; from parmesan_cagem import pipeline; {}; sys.exit(pipeline.main('mnist', prog='run_mnist.py'))"
NUMBERS = ("bounds", "terms", "error_q", "error_p", "test", "active_units", "cluster_usage", "confusion")


@dataclass(frozen=True)
class Change:
    """A run that differs from its engine's first one in ``flags``, ``environment``, ``cores`` or ``patch``.

    ``promise`` is what must then hold, ``epochs`` where it stops before it goes on.
    """

    name: str
    promise: str
    flags: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    cores: int = 0
    patch: str = "0"
    stops: bool = False
    elsewhere: bool = False
    evaluated: bool = False


ONE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
TWO = {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
SURROUNDINGS = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "LANG": "C", "COLUMNS": "40"}
EIGEN = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
SIMULATED = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
CHANGES = {
    "xla": (
        Change("again, other surroundings", SAME, environment=SURROUNDINGS, elsewhere=True, evaluated=True),
        Change("one core", ROUNDING, cores=1),  # XLA cuts its sums by the number of cores
        Change("Eigen on one thread", SAME, environment=EIGEN),
        Change("blocks of 1 step", SAME, patch=BLOCKS.format(1)),
        Change("stopped after an epoch, resumed", SAME, stops=True),
        Change("2 simulated devices", ROUNDING, ("--devices", "2"), SIMULATED),
        Change("seed 2", OTHER, ("--seed", "2", "--label-seed", "2")),
    ),
    "c": (
        Change("again, other surroundings", SAME, environment=SURROUNDINGS, elsewhere=True, evaluated=True),
        Change("one core", SAME, cores=1),
        Change("blocks of 7 steps", SAME, patch=BLOCKS.format(7)),
        Change("stopped after an epoch, resumed", SAME, stops=True),
        Change("2 BLAS threads", ROUNDING, environment=TWO),
        Change("seed 2", OTHER, ("--seed", "2", "--label-seed", "2")),
    ),
}
WIDE_CHANGES = {
    "xla": (Change("one core", ROUNDING, cores=1), Change("2 BLAS threads", SAME, environment=TWO)),
    "c": (
        Change("again", SAME),
        Change("one core", SAME, cores=1),
        Change("2 BLAS threads", ROUNDING, environment=TWO),
    ),
}


@dataclass
class Result:
    """What a run left."""

    arrays: dict[str, np.ndarray]
    log: list[dict[str, Any]]
    labels: list[int]
    record: dict[str, Any] | None


class Runs:
    """Runs, each in a process of its own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def train(self, engine: str, change: Change, base: Sequence[str]) -> Result:
        """Train it; a run that does not end well is an error."""
        out = Path(tempfile.mkdtemp(dir=self.folder))
        flags = [*base, "--engine", engine, "--out", str(out), "--name", "run", *change.flags]
        flags += [] if change.evaluated or "--train-only" in base else ["--train-only"]
        if change.stops:
            self._process(change, [*flags, "--epochs", "1"], out)
            flags.append("--resume")
        self._process(change, flags, out)
        return result(out / "run")

    def _process(self, change: Change, flags: Sequence[str], out: Path) -> None:
        python = [sys.executable, "-c", PROGRAM.format(change.patch), *flags]
        if change.cores:
            allowed = sorted(os.sched_getaffinity(0))[: change.cores]
            python = ["taskset", "--cpu-list", ",".join(map(str, allowed)), *python]
        environment = {**os.environ, **ONE, "PYTHONPATH": str(ROOT), **change.environment}
        where = ROOT
        if change.elsewhere:
            where = out / "elsewhere"
            (where / "tmp").mkdir(parents=True)
            environment["TMPDIR"] = str(where / "tmp")
        done = subprocess.run(python, cwd=where, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
        if done.returncode:
            raise RuntimeError(f"{change.name}: status {done.returncode}: {done.stderr[-500:]}")


def result(run: Path) -> Result:
    """What the folder of a run holds, without times and provenance."""
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    log = [{key: value for key, value in entry.items() if key != "seconds"} for entry in entries if "epoch" in entry]
    path, record = run / "record.json", None
    if path.exists():
        whole = json.loads(path.read_text())
        record = {key: whole[key] for key in NUMBERS}
    labels = json.loads((run / "labels.json").read_text())["indices"]
    return Result(checkpoint.load(run).arrays, log, labels, record)


def differences(a: Result, b: Result) -> dict[str, Any]:
    """How far apart two runs are.

    Returns
    -------
    dict
        ``arrays`` and ``epochs`` that differ in a bit; ``weights``: the largest relative L2 distance of a matrix;
        ``F``: the largest relative difference of an epoch's; ``streams``, ``labels``, ``record``: whether they differ.
    """
    apart = [n for n in a.arrays if a.arrays[n].tobytes() != b.arrays[n].tobytes()]

    def distance(name: str) -> float:
        one, other = a.arrays[name].astype(float), b.arrays[name].astype(float)
        return float(np.linalg.norm(one - other) / max(np.linalg.norm(one), 1e-30))

    weights = [distance(name) for name in a.arrays if name.startswith("weights/") and name.endswith(".W")]
    return {
        "arrays": len(apart),
        "of": len(a.arrays),
        "epochs": sum(x != y for x, y in zip(a.log, b.log, strict=True)),
        "weights": max(weights),
        "F": max(abs(x["F"] - y["F"]) / abs(x["F"]) for x, y in zip(a.log, b.log, strict=True)),
        "streams": any(name.startswith("random/") for name in apart),
        "labels": a.labels != b.labels,
        "record": bool(a.record and b.record and a.record != b.record),
    }


def broken(promise: str, found: dict[str, Any]) -> str | None:
    """What of a promise does not hold."""
    if promise == SAME:
        wrong = [key for key in ("arrays", "epochs", "labels", "record") if found[key]]
    elif promise == ROUNDING:
        wrong = [key for key in ("streams", "labels") if found[key]] + ["F"] * (not found["F"] <= NEAR)
    else:
        wrong = [key for key in ("arrays", "epochs", "weights", "streams", "labels") if not found[key]]
    return ", ".join(wrong) or None


def compare(
    figures: Figures, runs: Runs, engine: str, base: Sequence[str], changes: Sequence[Change], width: str
) -> Result:
    """The engine's first run, and each change against it; returns the first one."""
    first = runs.train(engine, Change("first", SAME, evaluated=any(one.evaluated for one in changes)), base)
    for change in changes:
        judge(figures, f"{engine}, {width}: {change.name}", change.promise, first, runs.train(engine, change, base))
    return first


def judge(figures: Figures, what: str, promise: str, a: Result, b: Result) -> None:
    """Count one promise."""
    found = differences(a, b)
    figures.details[what] = {"promised": promise, **found}
    wrong = broken(promise, found)
    if wrong:
        figures.lose(f"{what}: promised {promise}; not so: {wrong} ({json.dumps(found)})")
    else:
        figures.survive()
    bits = "every bit" if not found["arrays"] else f"weights {found['weights']:.1e}, F {found['F']:.1e}"
    figures.say(f"{what}: promised {promise}, found {bits}")


def main(argv: Sequence[str] | None = None) -> int:
    """Every promise; 0 if all held."""
    parser = torture_figures.arguments(__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the runs")
    only = ["all", *(f"{width} {name}" for width in ("small", "full width") for name in CHANGES)]
    parser.add_argument("--only", default="all", choices=only, help="a quarter of it")
    args = parser.parse_args(argv)
    figures = Figures("determinism")
    scratch = Path(tempfile.mkdtemp(prefix="determinism-"))
    runs, seed = Runs(scratch), ("--seed", str(args.seed))
    for width, base, changes in (("small", SMALL, CHANGES), ("full width", WIDE, WIDE_CHANGES)):
        first = {
            name: compare(figures, runs, name, (*base, *seed), changes[name], width)
            for name in changes
            if args.only in ("all", f"{width} {name}")
        }
        if len(first) == 2:
            judge(figures, f"{width}: engine c against engine xla", ROUNDING, first["c"], first["xla"])
    return figures.finish(args.json, scratch)


if __name__ == "__main__":
    sys.exit(main())
