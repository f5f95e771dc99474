"""Importance samples a second of the bound F_k: the compiled function that evaluation spends its time in, by engine.

    python -m benchmarks.iw_bound                           # engines c and xla, beside their training step; minutes
    python -m benchmarks.iw_bound --only c --rounds 5 --json iw_bound.json

The engines must agree on all outputs of one call before they are timed. Then, in interleaved rounds (see
benchmarks/step_time.py), each makes some calls of the default size and takes a block of training steps: the same
networks on the same BLAS, so the GFLOP/s of the two, and the fastest square matrix product beside them, say what the
evaluation leaves unused. A row is one importance sample of one image, summed over y; drawing the noise and adding up
the weights are not in it. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rounds
from benchmarks.children import Child, call
from benchmarks.contestants import ENGINES, INEXACT, BoundCall, absent, make_problem, make_step, present
from benchmarks.flops import bound_flops, step_flops
from benchmarks.problem import Problem

TOLERANCE = 1e-4  # of the outputs of one call, in the Euclidean norm over its rows
PAPER = 10_000 * 5000  # rows of F_5000 on all test images


def main(argv: list[str] | None = None) -> int:
    """Check, measure, report; 1 if the engines disagree."""
    parser = rounds.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=ENGINES, default=ENGINES, metavar="NAME", help=", ".join(ENGINES))
    parser.add_argument("--calls", type=int, default=4, help="calls a round (default 4)")
    parser.add_argument("--steps", type=int, default=3, help="training steps a round (default 3)")
    args = parser.parse_args(argv)
    names = present(args.only, rounds.say)
    facts = rounds.machine()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "problem.npz")
        call(make_problem, path, args.data_dir, args.preset, {})
        reference = next(name for name in ENGINES if not absent(name))
        values = {name: call(BoundCall, name, path, method="values") for name in {reference, *names}}
        errors = {name: difference(values[reference], values[name]) for name in names}
        rounds.say(f"equality: relative errors at most {errors}")
        if not all(error <= TOLERANCE for name, error in errors.items() if name not in INEXACT):
            print(f"the engines disagree, so they are not timed: {errors}", file=sys.stderr)
            return 1
        found = measure(names, path, args)
    report(facts, found)
    rounds.write(args.json, {"machine": facts, "rounds": args.rounds, "errors": errors, **found})
    return 0


def difference(reference: list[np.ndarray], values: list[np.ndarray]) -> float:
    """The largest relative error of any output of a call."""
    pairs = zip(reference, values, strict=True)
    return max(float(np.linalg.norm(v - r) / max(np.linalg.norm(r), 1.0)) for r, v in pairs)


def measure(names: list[str], path: str, args: Any) -> dict[str, Any]:
    """Compile, warm up, then the interleaved rounds."""
    problem = Problem.load(Path(path))
    e, pixels = problem.experiment, problem.images.shape[1]
    inputs = problem.inputs(args.steps)
    children: dict[str, Child] = {}
    for name in names:
        rounds.say(f"{name}: compile and warm up")
        for task, child, warmup in (
            ("bound", Child(f"bound {name}", BoundCall, name, path), (1,)),
            ("step", Child(f"step {name}", make_step, name, path), inputs),
        ):
            child.ask("run", *warmup)
            child.forget_peak()
            children[f"{task} {name}"] = child
    rows = children[f"bound {names[0]}"].ask("run", 1).value
    sgemm, others = rounds.sgemm_tasks(args.sgemm)
    units = {
        name: (args.calls * rows, (args.calls,)) if name.startswith("bound") else (args.steps, inputs)
        for name in children
    }
    tasks = {
        name: lambda child=child, name=name: child.ask("run", *units[name][1]).seconds / units[name][0]
        for name, child in children.items()
    }
    rounds.say(f"{args.rounds} rounds")
    found = rounds.interleave({**tasks, **sgemm}, args.rounds)
    best, peak = rounds.peak(found)
    flops = {"bound": bound_flops(e, pixels), "step": step_flops(e, pixels)}
    contestants = {
        name: {
            "seconds": found[name],  # per row, or per step
            "gflops": flops[name.split()[0]] / statistics.median(found[name]) / 1e9,
            "peak_bytes": child.peak_bytes(),
        }
        for name, child in children.items()
    }
    for child in [*children.values(), *others]:
        child.close()
    return {
        "rows_a_call": rows,
        "flops": flops,
        "sgemm": {"n": args.sgemm, "fastest": best, "gflops": peak / 1e9, **{k: found[k] for k in sgemm}},
        "contestants": contestants,
    }


def report(facts: dict[str, Any], found: dict[str, Any]) -> None:
    """Print Markdown."""
    peak, table = found["sgemm"]["gflops"], []
    for name, c in found["contestants"].items():
        if name.startswith("bound"):
            seconds, low, high = rounds.spread(c["seconds"])
            rate = f"{1 / seconds:.0f} ({1 / high:.0f} to {1 / low:.0f})"
            hours = f"{PAPER * seconds / 3600:.1f}"
        else:
            rate = hours = ""
        share = f"{c['gflops'] / peak:.0%}"
        table.append([name, rate, hours, f"{c['gflops']:.0f}", share, f"{c['peak_bytes'] / 2**20:.0f}"])
    rows, flops = found["rows_a_call"], found["flops"]["bound"] / 1e6
    print(f"{rounds.heading(facts)}\n")
    print(f"{rows} rows a call, {flops:.1f} MFLOP a row; {peak:.0f} GFLOP/s in sgemm ({found['sgemm']['fastest']})\n")
    header = ["", "images x samples a second", "hours of F_5000, 10,000 images", "GFLOP/s", "of sgemm", "MiB"]
    print(rounds.table(header, table))


if __name__ == "__main__":
    raise SystemExit(main())
