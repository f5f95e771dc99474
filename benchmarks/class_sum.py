"""What a sum over 50 alphabets costs beside one over 10 digits: time and memory, OMNIGLOT against MNIST.

    CAGEM_DATA=... python -m benchmarks.class_sum           # engine xla, full width, batch 100; minutes

In interleaved rounds (see benchmarks/step_time.py) each data set takes a block of training steps and some calls of the
evaluation's bound, in processes of their own. Ratios are taken within a round, so other work on the machine disturbs
them little; peak memory is resident memory of a process while it steps, and since its start, with compiling.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks import rounds
from benchmarks.children import Child, call
from benchmarks.contestants import BoundCall, make_problem, make_step
from benchmarks.flops import bound_flops, step_flops
from benchmarks.problem import Problem

DATASETS = ("mnist", "omniglot")


def main(argv: list[str] | None = None) -> int:
    """Measure and report."""
    parser = rounds.arguments(__doc__)
    parser.add_argument("--engine", choices=("xla", "c"), default="xla", help="engine (default xla)")
    parser.add_argument("--steps", type=int, default=3, help="training steps a round (default 3)")
    parser.add_argument("--calls", type=int, default=2, help="calls of the bound a round (default 2)")
    args = parser.parse_args(argv)
    facts = rounds.machine()
    with tempfile.TemporaryDirectory() as folder:
        contestants = {}
        for dataset in DATASETS:
            path = str(Path(folder) / f"{dataset}.npz")
            call(make_problem, path, args.data_dir, args.preset, {"dataset": dataset})
            contestants |= prepare(dataset, path, args)
        tasks = {
            name: lambda c=c: c["child"].ask("run", *c["inputs"]).seconds / c["units"]
            for name, c in contestants.items()
        }
        rounds.say(f"{args.rounds} rounds")
        found = rounds.interleave(tasks, args.rounds)
        for name, contestant in contestants.items():
            child = contestant.pop("child")
            del contestant["inputs"]
            contestant |= {"seconds": found[name], "peak_bytes": child.peak_bytes()}
            child.close()
    report(facts, contestants)
    rounds.write(args.json, {"machine": facts, "rounds": args.rounds, "contestants": contestants})
    return 0


def prepare(dataset: str, path: str, args: Any) -> dict[str, Any]:
    """Compile and warm up the step and the bound of one data set."""
    problem = Problem.load(Path(path))
    pixels, prepared = problem.images.shape[1], {}
    for kind, child, inputs, units, flops in (
        ("step", Child(dataset, make_step, args.engine, path), problem.inputs(args.steps), args.steps, step_flops),
        ("bound", Child(dataset, BoundCall, args.engine, path), [args.calls], args.calls, bound_flops),
    ):
        rounds.say(f"{dataset}: {kind}: compile and warm up")
        rows = child.ask("run", *inputs).value
        child.ask("run", *inputs)
        facts = {
            "units": units,
            "flops": flops(problem.experiment, pixels),
            "peak_bytes_with_compiling": child.peak_bytes(),
        }
        if kind == "bound":
            facts |= {"rows_a_call": rows // units, "flops": facts["flops"] * rows // units}
        child.forget_peak()
        prepared[f"{kind} {dataset}"] = {"child": child, "inputs": inputs, **facts}
    return prepared


def report(facts: dict[str, Any], contestants: dict[str, Any]) -> None:
    """Print Markdown."""
    table = []
    for name, c in contestants.items():
        seconds, low, high = rounds.spread(c["seconds"])
        base = contestants[f"{name.split()[0]} {DATASETS[0]}"]
        ratio = "{:.2f} ({:.2f} to {:.2f})".format(*rounds.ratios(c["seconds"], base["seconds"]))
        memory = [f"{c[key] / 2**20:.0f}" for key in ("peak_bytes", "peak_bytes_with_compiling")]
        times = [f"{seconds:.3f} ({low:.3f} to {high:.3f})", ratio]
        table.append([name, *times, f"{c['flops'] / base['flops']:.2f}", *memory])
    header = ["", "s a step or call", "ratio to MNIST", "ratio of FLOP", "MiB", "MiB with compiling"]
    print(f"{rounds.heading(facts)}\n\n{rounds.table(header, table)}")


if __name__ == "__main__":
    raise SystemExit(main())
