"""Seconds per training step of CaGeM-100: our engines against the same mathematics in PyTorch and in hand-written JAX.

    python -m benchmarks.step_time                          # engines c and xla, torch eager and compiled, jax; minutes
    python -m benchmarks.step_time --only c jax --batch 100 --rounds 5 --json step_time.json

First every contestant takes three steps with the weights, batches and noise of engine c (in the modern environment,
where it cannot run: of engine xla) and must agree with it in all outputs, gradients and weights (in larger batches than
the smallest: in the outputs of the first step); nobody is timed who does not, except ``xla-bf16``, which rounds the
factors of every product and whose errors are only reported.

Then each runs in a process of its own, which sleeps while it is not its turn: in every round each runs one block of
steps, in an order that rotates. Times are medians over rounds, ratios are taken within a round, FLOPs are counted from
the shapes (benchmarks/flops.py) and held against the fastest square matrix product that any BLAS at hand makes in the
same rounds. Peak memory is resident memory, of stepping and, with compiling, since the start. Run it on a machine that
does nothing else.

PyTorch is no dependency of the package. To have it compete: pip install torch==2.13.0
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import rounds
from benchmarks.children import Child, call
from benchmarks.contestants import ENGINES, INEXACT, NAMES, absent, make_problem, make_step, present
from benchmarks.flops import step_flops
from benchmarks.peers import check
from benchmarks.problem import Problem

# Where a rectifier's argument rounds to the other side of zero, a gradient differs by a whole summand: that depends on
# the noise, and other mathematics does not. Everyone must agree under one of so many draws.
DRAWS = 3
IDLE = 0.05  # share of a core beyond which a waiting contestant disturbs the others


def main(argv: list[str] | None = None) -> int:
    """Check, measure, report; 1 if a contestant does other mathematics."""
    parser = rounds.arguments(__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--batch", nargs="+", type=int, default=[100, 256], help="unlabelled images a step")
    parser.add_argument("--steps", type=int, default=5, help="steps of a block (default 5)")
    parser.add_argument("--baseline", default="xla", choices=NAMES, help="ratios are to this one (default xla)")
    args = parser.parse_args(argv)
    names = present(args.only, rounds.say)
    facts, batches = rounds.machine(), []
    with tempfile.TemporaryDirectory() as folder:
        for batch in args.batch:
            path = str(Path(folder) / f"problem-{batch}.npz")
            call(make_problem, path, args.data_dir, args.preset, {"batch_size": batch})
            # The larger a batch, the surer a rectifier flips somewhere: gradients are compared where it is smallest.
            kinds = check.TOLERANCES if batch == min(args.batch) else ("outputs/1",)
            agreement: dict[str, dict[str, float]] = {}
            wrong: dict[str, list[str]] = {name: [] for name in names}
            for draw in range(DRAWS):
                agreement |= compare(list(wrong), path, draw)
                wrong = {n: f for n in wrong if n not in INEXACT and (f := check.failures(agreement[n], kinds))}
                if not wrong:
                    break
                rounds.say(f"equality: draw {draw + 1} of the noise: {wrong}")
            if wrong:
                print(f"not the same mathematics, so not timed: {wrong}", file=sys.stderr)
                return 1
            found = measure(names, path, args.steps, args.rounds, args.sgemm)
            for name, errors in agreement.items():
                found["contestants"][name]["errors"] = {k: e for k, (e, _) in check.worst(errors).items()}
            batches.append(found)
    report(facts, batches, args.baseline if args.baseline in names else names[0], args.steps)
    rounds.write(args.json, {"machine": facts, "rounds": args.rounds, "steps": args.steps, "batches": batches})
    return 0


def compare(names: list[str], path: str, draw: int) -> dict[str, dict[str, float]]:
    """Relative errors of every contestant's steps against those of an engine."""
    first = next(name for name in ENGINES if not absent(name))
    rounds.say(f"equality: engine {first} takes the steps that the others must take")
    reference = call(check.Trajectory, first, path, draw, method="take")
    found = {}
    for name in names:
        taken = reference if name == first else call(check.Trajectory, name, path, draw, method="take")
        found[name] = check.errors(reference, taken)
        worst = ", ".join(f"{kind} {error:.1e}" for kind, (error, _) in check.worst(found[name]).items())
        rounds.say(f"equality: {name}: relative errors at most {worst}")
    return found


def measure(names: list[str], path: str, steps: int, count: int, n: int) -> dict[str, Any]:
    """Compile, warm up, then the interleaved rounds."""
    problem = Problem.load(Path(path))
    inputs = problem.inputs(steps)
    children, compiling = {}, {}
    for name in names:
        rounds.say(f"batch {problem.experiment.batch_size}: {name}: compile and warm up")
        child = children[name] = Child(name, make_step, name, path)
        first = child.ask("run", *inputs).seconds
        child.ask("run", *inputs)
        compiling[name] = {"first_block_seconds": first, "peak_bytes_with_compiling": child.peak_bytes()}
        child.forget_peak()
    sgemm, others = rounds.sgemm_tasks(n)
    idle: dict[str, list[float]] = {name: [] for name in names}

    def block(name: str) -> float:
        answer = children[name].ask("run", *inputs)
        idle[name].append(answer.idle_cpu)
        return answer.seconds / steps

    tasks = {name: lambda name=name: block(name) for name in names}
    rounds.say(f"batch {problem.experiment.batch_size}: {count} rounds")
    found = rounds.interleave({**tasks, **sgemm}, count)
    flops = step_flops(problem.experiment, problem.images.shape[1])
    contestants = {
        name: {
            "seconds": found[name],
            "gflops": flops / statistics.median(found[name]) / 1e9,
            "peak_bytes": children[name].peak_bytes(),
            "idle_cpu": statistics.median(idle[name]),
            **compiling[name],
        }
        for name in names
    }
    for child in [*children.values(), *others]:
        child.close()
    for name, share in ((name, c["idle_cpu"]) for name, c in contestants.items()):
        if share > IDLE:
            rounds.say(f"{name}: used {share:.0%} of a core while it waited: the others' times are disturbed")
    best, peak = rounds.peak(found)
    return {
        "batch": problem.experiment.batch_size,
        "labelled": problem.labelled_size,
        "flops": flops,
        "sgemm": {"n": n, "fastest": best, "gflops": peak / 1e9, **{k: v for k, v in found.items() if k in sgemm}},
        "contestants": contestants,
    }


def report(facts: dict[str, Any], batches: list[dict[str, Any]], baseline: str, steps: int) -> None:
    """Print Markdown."""
    print(f"{rounds.heading(facts)}\n")
    for found in batches:
        peak, contestants = found["sgemm"]["gflops"], found["contestants"]
        base = contestants[baseline]["seconds"]
        rows = []
        for name, c in contestants.items():
            seconds, low, high = rounds.spread(c["seconds"])
            ratio, least, most = rounds.ratios(c["seconds"], base)
            rows.append(
                [
                    name,
                    f"{seconds:.4f} ({low:.4f} to {high:.4f})",
                    f"{ratio:.2f} ({least:.2f} to {most:.2f})",
                    f"{c['gflops']:.0f}",
                    f"{c['gflops'] / peak:.0%}",
                    f"{c['peak_bytes'] / 2**20:.0f}",
                    f"{c['peak_bytes_with_compiling'] / 2**20:.0f}",
                    f"{c['first_block_seconds']:.0f}",
                ]
            )
        print(
            f"{found['batch']} unlabelled and {found['labelled']} labelled images a step, "
            f"{found['flops'] / 1e9:.1f} GFLOP; "
            f"sgemm of {found['sgemm']['n']}: {peak:.0f} GFLOP/s ({found['sgemm']['fastest']}); "
            f"{len(base)} rounds of {steps} steps: median (smallest to largest)\n"
        )
        memory = ("MiB", "MiB, compiling too", "first block, s")
        header = ["", "s a step", f"ratio to {baseline}", "GFLOP/s", "of sgemm", *memory]
        print(rounds.table(header, rows) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
