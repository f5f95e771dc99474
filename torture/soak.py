"""Hundreds of epochs with batch norm under the class sum: no NaN, no memory that grows, no file handle that stays open.

Each run is a process of its own, watched from outside: after every epoch that its log tells of, its resident memory
(``/proc/PID/status``) and its open files (``/proc/PID/fd``). It is CaGeM-20 on real digits, small, with a checkpoint
every epoch, for both ways to weigh the K rows of an image in the batch statistics and for both engines. The memory's
slope is that of a least-squares line after a warm-up.

Survived is a run that ended with status 0, logged every epoch with finite numbers, left a finite checkpoint, whose
memory rises by less than ``LIMIT`` KiB an epoch, and which holds no more files at its end than after the warm-up.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import checkpoint, finite
from torture import figures as torture_figures
from torture.figures import Figures

ROOT = Path(__file__).resolve().parent.parent
# A run of 1000 epochs would gain 20 MiB, little beside the hundreds that it has. One state of this small model that is
# kept each epoch (2.6 MiB: its checkpoint, or a copy on the device) would be a hundred times as much.
LIMIT = 20.0  # KiB an epoch
SETTLED = 10  # epochs of a run from which on its memory says something
WARM_UP = 1 / 3  # of the epochs: caches fill, blocks grow to their length, the allocator finds its size
SMALL = (
    *(
        "--preset",
        "smoke",
        "--labels",
        "20",
        "--train-images",
        "500",
        "--batch-size",
        "50",
        "--labelled-batch-size",
        "20",
    ),
    *("--wide", "24", "--narrow", "16", "--checkpoint-every", "1", "--warmup-epochs", "100", "--decay-epochs", "75"),
    *("--train-only", "--no-progress"),
)
RUNS = tuple((engine, class_bn) for engine in ("xla", "c") for class_bn in ("uniform", "q"))


@dataclass
class Samples:
    """What a process was seen to hold, epoch by epoch."""

    epochs: list[int] = field(default_factory=list)
    rss_kib: list[int] = field(default_factory=list)
    handles: list[int] = field(default_factory=list)

    def after(self, epoch: float) -> Samples:
        """Those of later epochs."""
        kept = [i for i, one in enumerate(self.epochs) if one > epoch]
        return Samples(*([values[i] for i in kept] for values in (self.epochs, self.rss_kib, self.handles)))


def watch(process: subprocess.Popen[str], log: Path, seconds: float = 3600) -> Samples:
    """Sample a process after each epoch until it ends; a reader that misses one takes the next."""
    samples, until = Samples(), time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > until:
            process.kill()
            raise TimeoutError(f"no end after {seconds} s: {log.parent}")
        epoch = sum(1 for _ in epochs_of(log))
        if epoch and (not samples.epochs or epoch > samples.epochs[-1]):
            held = _held(process.pid)
            if held:
                for values, one in zip((samples.epochs, samples.rss_kib, samples.handles), (epoch, *held), strict=True):
                    values.append(one)
        time.sleep(0.05)
    return samples


def _held(pid: int) -> tuple[int, int] | None:
    """Resident KiB and open files of a process, None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        handles = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    return (int(resident[0]), handles) if resident else None


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Of the least-squares line, and its standard error.

    Examples
    --------
    >>> slope([1, 2, 3, 4], [5, 7, 9, 11])
    (2.0, 0.0)
    """
    a, b = np.asarray(x, float), np.asarray(y, float)
    centred = a - a.mean()
    squares = float(centred @ centred)
    rise = float(centred @ b) / squares
    rest = b - b.mean() - rise * centred
    return rise, math.sqrt(float(rest @ rest) / max(len(a) - 2, 1) / squares)


def epochs_of(log: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a log that tell of an epoch."""
    try:
        text = log.read_text()
    except OSError:
        return
    for line in text.split("\n")[:-1]:
        if line.startswith('{"epoch"'):
            yield json.loads(line, parse_constant=lambda word: math.nan)


def judge(samples: Samples, log: Path, epochs: int) -> tuple[list[str], dict[str, Any]]:
    """What does not hold of a run that has ended, and its figures."""
    wrong = []
    entries = list(epochs_of(log))
    if [entry["epoch"] for entry in entries] != list(range(1, epochs + 1)):
        wrong.append(f"{len(entries)} of {epochs} epochs in its log")
    if not all(_is_finite(entry) for entry in entries):
        wrong.append("a number of its log is not finite")
    saved = checkpoint.load(log.parent)
    if bad := finite.faults(saved.arrays):
        wrong.append(f"its checkpoint holds {finite.words(bad)}")
    steady = samples.after(epochs * WARM_UP)
    if len(steady.epochs) < 3:
        return [*wrong, f"seen {len(steady.epochs)} times only"], {}
    rise, error = slope(steady.epochs, steady.rss_kib)
    # Counted as a leak only where it is no noise. In its first epochs a process is still filling the pools of its
    # allocators: XLA's have risen by 200 KiB an epoch over three of them, and by 0.2 over three hundred.
    if epochs >= SETTLED and rise - 2 * error > LIMIT:
        wrong.append(f"its memory grows by {rise:.1f} +- {error:.1f} KiB an epoch")
    if epochs >= 100 and rise > LIMIT:
        wrong.append(f"its memory grows by {rise:.1f} KiB an epoch")
    first, last = steady.handles[: len(steady.handles) // 3 + 1], steady.handles[-(len(steady.handles) // 3 + 1) :]
    if min(last) > min(first):
        wrong.append(f"open files grew from {min(first)} to {min(last)}")
    figures = {
        "epochs": len(entries),
        "F": [entries[0]["F"], entries[-1]["F"]],
        "samples": len(samples.epochs),
        "rss_mib": [round(samples.rss_kib[0] / 1024, 1), round(samples.rss_kib[-1] / 1024, 1)],
        "rss_kib_per_epoch": round(rise, 2),
        "standard_error": round(error, 2),
        "open_files": [min(first), min(last)],
        "most_open_files": max(samples.handles),
    }
    return wrong, figures


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_finite(one) for one in value.values())
    if isinstance(value, list):
        return all(_is_finite(one) for one in value)
    return not isinstance(value, float) or math.isfinite(value)


def soak(figures: Figures, folder: Path, engine: str, class_bn: str, epochs: int, seed: int) -> None:
    """Train and watch one run."""
    name = f"{engine}-{class_bn}"
    command = [
        *(sys.executable, "run_mnist.py", *SMALL, "--engine", engine, "--class-bn", class_bn),
        *("--epochs", str(epochs), "--seed", str(seed), "--out", str(folder), "--name", name),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / f"{name}.txt").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, text=True, cwd=ROOT, env=environment)
        try:
            samples = watch(process, folder / name / "log.jsonl")
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        text = (folder / f"{name}.txt").read_text().strip()
        figures.lose(f"{name}: status {process.returncode}: {text.splitlines()[-1] if text else 'it said nothing'}")
        return
    wrong, found = judge(samples, folder / name / "log.jsonl", epochs)
    figures.details[name] = found
    if wrong:
        figures.lose(f"{name}: {'; '.join(wrong)}")
    else:
        figures.survive()
    figures.say(f"{name}: {json.dumps(found)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Every run; 0 if nothing was lost."""
    parser = torture_figures.arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=300, metavar="N", help="of each run (300)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    figures = Figures("soak")
    scratch = Path(tempfile.mkdtemp(prefix="soak-"))
    for engine, class_bn in RUNS:
        soak(figures, scratch, engine, class_bn, args.epochs, args.seed)
    figures.details["limit_kib_per_epoch"] = LIMIT
    return figures.finish(args.json, scratch)


if __name__ == "__main__":
    sys.exit(main())
