"""The first steps of CaGeM-100 on real MNIST: engine xla against engine c, and engine c against itself.

    python -m benchmarks.parity --json docs/records/parity.json --figure docs/parity.png        # six minutes on 2 cores

All runs start from one seed and draw identical random numbers. Compared, over the steps of the paper's preset:

* ``float32``: engine xla against engine c, each on its own from the first step on;
* ``float32, c reordered``: engine c with OpenBLAS kernels for another processor (``OPENBLAS_CORETYPE=Haswell``), which
  add the same products in another order, against engine c: how far rounding alone carries two runs apart;
* ``float32, lockstep``: engine xla takes every step from the state in which engine c takes it, so nothing accumulates;
* ``float64``: the first comparison again with ``floatX=float64``.

Printed: the largest relative difference of the bound (F at T = 1, and the objective at the step's temperature), and the
relative L2 distances of the weight tensors, after the last step or, in lockstep, after any.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Run = dict[str, np.ndarray]
BOUNDS = ("F", "objective")
F64 = {"THEANO_FLAGS": "floatX=float64"}
RUNS = {
    "c": ("c", {}),
    "xla": ("xla", {}),
    "c reordered": ("c", {"OPENBLAS_CORETYPE": "Haswell"}),
    "lockstep": ("lockstep", {}),
    "c float64": ("c", F64),
    "xla float64": ("xla", F64),
}
PAIRS = {"float32": ("c", "xla"), "float32, c reordered": ("c", "c reordered"), "float64": ("c float64", "xla float64")}
LOCKSTEP = "float32, lockstep"


class Stepper:
    """CaGeM-100 on one engine, and the inputs of its first epoch."""

    def __init__(self, engine: str, args: argparse.Namespace) -> None:
        from parmesan_cagem import config, engines, training_step
        from parmesan_cagem.batches import epoch_inputs
        from parmesan_cagem.data import load
        from parmesan_cagem.models.cagem import CaGeM
        from parmesan_cagem.partition import partition

        e = config.experiment("paper", labels=100, engine=engine, seed=args.seed)
        data = load("mnist", args.data_dir)
        parts = partition(data, e)
        n_u, n_l = len(parts.unlabelled), len(parts.labelled)
        step = training_step.build(
            CaGeM(e, data.train_images.shape[1]),
            e,
            data.train_images[parts.unlabelled],
            data.train_images[parts.labelled],
            e.label_weights(n_u, n_l),
            data.train_labels[parts.labelled],
        )
        self.state, self._names = step.state, list(step.outputs)
        self._run = engines.get(engine).steps(step.inputs, list(step.outputs.values()), step.updates.items(), "parity")
        self._inputs = [sequence[: args.steps] for sequence in epoch_inputs(e, 0, n_u, n_l)]

    def take(self, steps: slice) -> Run:
        """Those steps; returns the bounds, (steps,) each."""
        values = self._run(*(sequence[steps] for sequence in self._inputs))
        self._run.pull()
        return {name: values[self._names.index(name)] for name in BOUNDS}

    def arrays(self, kind: str) -> Run:
        """The present state whose name begins with ``kind``."""
        return {name: variable.get_value() for name, variable in self.state.items() if name.startswith(kind)}


def free(engine: str, args: argparse.Namespace) -> Run:
    """All steps in one go: the bounds, the last weights, the last states of the random streams."""
    stepper = Stepper(engine, args)
    return {**stepper.take(slice(None)), **stepper.arrays("weights/"), **stepper.arrays("random/")}


def lockstep(args: argparse.Namespace) -> Run:
    """Relative differences of every step taken from engine c's state: of the bounds, (steps,), and of the weights."""
    c, xla = Stepper("c", args), Stepper("xla", args)
    differences: dict[str, list[float]] = {}
    for i in range(args.steps):
        for name, variable in c.state.items():
            xla.state[name].set_value(variable.get_value())
        values = [stepper.take(slice(i, i + 1)) | stepper.arrays("weights/") for stepper in (c, xla)]
        for name in values[0]:
            differences.setdefault(name, []).append(distance(values[0][name], values[1][name]))
    return {name: np.array(found) for name, found in differences.items()}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """``|a - b| / |a|`` in the Euclidean norm."""
    return float(np.linalg.norm(np.subtract(a, b, dtype=np.float64)) / max(np.linalg.norm(a), 1e-30))


def compare(runs: dict[str, Run]) -> dict[str, Any]:
    """For each comparison: differences of F by step, the largest of each bound, distances of the weights."""
    found: dict[str, Any] = {}
    for name, (reference, other) in PAIRS.items():
        a, b = runs[reference], runs[other]
        by_step = {bound: np.abs(a[bound] - b[bound]) / np.abs(a[bound]) for bound in BOUNDS}
        weights = {n.removeprefix("weights/"): distance(a[n], b[n]) for n in a if n.startswith("weights/")}
        same = all(np.array_equal(a[n], b[n]) for n in a if n.startswith("random/"))
        found[name] = {"by_step": by_step, "weights": weights, "same_random_numbers": same}
    steps = runs["lockstep"]
    weights = {n.removeprefix("weights/"): float(v.max()) for n, v in steps.items() if n.startswith("weights/")}
    found[LOCKSTEP] = {"by_step": {bound: steps[bound] for bound in BOUNDS}, "weights": weights}
    for result in found.values():
        result.update({bound: float(result["by_step"][bound].max()) for bound in BOUNDS})
        result["by_step"] = result["by_step"]["F"].tolist()
    return found


def draw(runs: dict[str, Run], found: dict[str, Any], path: Path) -> None:
    """The curves on top of each other, and the differences below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7.5, 7), sharex=True, height_ratios=(1, 1.2))
    steps = np.arange(1, len(runs["c"]["F"]) + 1)
    top.plot(steps, runs["c"]["F"], lw=5, color="0.75", label="engine c, float32")
    top.plot(steps, runs["xla"]["F"], lw=1.2, color="C3", label="engine xla, float32")
    top.set_ylabel("F of the batch (T = 1), nats")
    top.legend()
    for name, result in found.items():
        bottom.semilogy(steps, np.maximum(result["by_step"], 1e-17), label=name)
    bottom.axhline(1e-4, color="0.5", ls=":")
    bottom.set(ylabel="relative difference of F", xlabel="step")
    bottom.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> int:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--json", type=Path, help="write the comparison there")
    parser.add_argument("--figure", type=Path, help="draw the curves there (needs matplotlib)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        kind, output = args.child
        np.savez(output, **(lockstep(args) if kind == "lockstep" else free(kind, args)))
        return 0
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, variables) in RUNS.items():
            print(f"run: {name}", file=sys.stderr, flush=True)
            output = Path(folder) / f"{name}.npz"
            # Own processes: OpenBLAS chooses its kernels, and Theano its floatX, once.
            command = [sys.executable, "-m", "benchmarks.parity", *sys.argv[1:], "--child", kind, str(output)]
            subprocess.run(command, check=True, env={**os.environ, **variables})
            runs[name] = dict(np.load(output))
    found = compare(runs)
    for name, result in found.items():
        weights = result["weights"]
        worst = max(weights, key=weights.get)
        print(
            f"{name:21s} F {result['F']:.0e}, objective {result['objective']:.0e}; weights: median "
            f"{np.median(list(weights.values())):.0e}, worst {weights[worst]:.0e} ({worst})"
        )
    if args.json:
        args.json.write_text(json.dumps({"steps": args.steps, "seed": args.seed, **found}, indent=1) + "\n")
    if args.figure:
        draw(runs, found, args.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
