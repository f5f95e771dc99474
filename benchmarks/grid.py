"""Seconds of a training step, of a row of F_k and of a row of the classes, for all that workflow/paper.yaml trains.

    python -m benchmarks.grid --json workflow/speeds.json      # make bench-grid: engine xla, full width; 10 minutes

`cagem plan` reads that file. One configuration after the other, each in a process of its own, so that nothing else of
ours runs; images are random (a time depends on shapes alone), the networks those of preset paper. Times are medians of
blocks after the first, which compiles. A row is one sample of one image, noise drawn and weights summed, as
`cagem evaluate` does it. FLOP are those of the matrix products that the engine traces. The load averages beside every
configuration tell whether the machine did anything else.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import rounds
from benchmarks.children import Child
from benchmarks.configuration import Configuration
from parmesan_cagem import arguments, config, files, grid, speeds
from parmesan_cagem.config import Experiment

# What nothing was measured on. `cagem plan` marks every time of it as estimated.
ASSUMED: dict[str, Any] = {
    "H200": {
        "measured": False,
        "start_seconds": 30.0,
        "epoch_seconds": 0.5,
        "step": {"flop_per_second": 20e12, "seconds": 2e-3},
        "row": {"flop_per_second": 20e12, "seconds": 3e-6},
        "reasoning": (
            "assumed, nothing was measured: 30 % of the H200's 67 TFLOP/s in float32 (not by tensor cores), because a "
            "batch's products, 100 to 1000 rows, fill a part of its 132 processors; a step at least 2 ms (some 300 "
            "kernels of 3 to 5 us and the loop's look at its end); a row at least 3 us (its image and noise, 4.7 kB, "
            "are drawn on the host and carried over at some GB/s); 0.5 s to save an epoch (--checkpoint-every 25 "
            "spares most of it); 30 s to start a process and compile"
        ),
    }
}


def configurations(path: Path) -> list[tuple[Experiment, list[str]]]:
    """Each configuration of a grid once, and the kinds that none before it has measured."""
    seen: set[Any] = set()
    found = []
    for run in grid.read(path, "paper", Path("runs")).runs:
        kinds = []
        for kind in speeds.KINDS:
            name = kind, speeds.key(run.experiment, kind)
            if name not in seen:
                seen.add(name)
                kinds.append(kind)
        if kinds:
            found.append((run.experiment, kinds))
    return found


def settings_of(e: Experiment) -> dict[str, Any]:
    """What an experiment of preset paper has that its data set and model do not give it; these two too."""
    usual = config.usual("paper", e.dataset, e.model)
    named = {"dataset": e.dataset, "model": e.model}
    return named | {name: value for name, value in e.to_dict().items() if value != usual[name] or name == "labels"}


def main(argv: list[str] | None = None) -> int:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--grid", type=Path, default=grid.CHECKOUT / "paper.yaml", help="default workflow/paper.yaml")
    parser.add_argument("--preset", default="paper", help="of the networks' sizes (default paper; smoke to try it)")
    parser.add_argument("--only", type=int, metavar="N", help="the first N configurations")
    parser.add_argument("--blocks", type=int, default=5, help="blocks timed (default 5)")
    parser.add_argument("--seconds", type=float, default=1.5, help="what a block of steps should take (default 1.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    args = parser.parse_args(argv)
    facts, clock = rounds.machine(), time.monotonic()
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in speeds.KINDS}
    todo = configurations(args.grid)[: args.only]
    for number, (e, kinds) in enumerate(todo, start=1):
        settings, before = settings_of(e), os.getloadavg()[0]
        child = Child(arguments.title(e.model, e.labels), Configuration, settings, args.preset)
        built = child.ask("build").value if "steps" in kinds else {}
        # The steps last: a model that has learnt random images by heart has weights that are not finite on others.
        for kind in reversed(kinds):
            length = max(2, round(args.seconds / built["seconds"])) if kind == "steps" else 2
            measured = child.ask(kind, length, args.blocks).value
            if kind == "steps":
                measured = built | measured | {"save_seconds": child.ask("save_seconds").value}
            found[kind].append({"settings": settings, **measured, "load": [before, os.getloadavg()[0]]})
            seconds = f"{measured['seconds']:.3g} s ({measured['least']:.3g} to {measured['most']:.3g})"
            rounds.say(f"{number}/{len(todo)} {settings} {kind}: {seconds}, {measured['flop'] / 1e9:.3g} GFLOP")
        child.close()
        if args.json:  # after each, so that nothing is lost when the time does not suffice
            write(args.json, facts, found, time.monotonic() - clock)
    report(facts, found)
    return 0


def report(facts: dict[str, Any], found: dict[str, list[dict[str, Any]]]) -> None:
    """Print Markdown."""
    rows = []
    for kind, each in found.items():
        for one in each:
            words = " ".join(f"{name} {value}" for name, value in one["settings"].items())
            times = [f"{1e3 * one[name]:.4g}" for name in ("seconds", "least", "most")]
            gflop = one["flop"] / 1e9
            sizes = [f"{gflop:.4g}", f"{gflop / one['seconds']:.0f}", f"{one['load'][1]:.1f}"]
            rows.append([f"{kind}: {words}", *times, *sizes])
    print(f"{rounds.heading(facts)}\n")
    print(rounds.table(["", "ms each", "least", "most", "GFLOP", "GFLOP/s", "load"], rows))


def write(path: Path, facts: dict[str, Any], found: dict[str, list[dict[str, Any]]], seconds: float) -> None:
    """The file that `cagem plan` reads."""
    loads = [one["load"][1] for each in found.values() for one in each]
    # A process of ours keeps two cores busy: above that, somebody else was at work.
    quiet = max(loads) <= len(os.sched_getaffinity(0)) + 0.5
    cores = f"{len(os.sched_getaffinity(0))} cores"
    device = {
        "measured": True,
        "start_seconds": statistics.median(one["ready_seconds"] for one in found["steps"]),
        "epoch_seconds": statistics.median(one["save_seconds"] for one in found["steps"]),
        "reasoning": f"measured on {facts['device']}" + ("" if quiet else f" UNDER LOAD (up to {max(loads):.1f})"),
    }
    content = {
        "command": shlex.join(["python", "-m", "benchmarks.grid", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": facts,
        "minutes": seconds / 60,
        "quiet": quiet,
        "devices": {cores: device, **ASSUMED},
        **found,
    }
    files.write_json(path, content)


if __name__ == "__main__":
    raise SystemExit(main())
