"""The first steps of CaGeM-100 on real MNIST, engine c against engine xla, and engine c against itself.

    python benchmarks/parity.py --json docs/records/parity.json --figure docs/parity.png      # a minute or two

Three runs of the paper's preset from one seed: engine c; engine c again with OpenBLAS's kernels for another processor
(``OPENBLAS_CORETYPE=Haswell``), which add the same products in another order; engine xla. All draw identical random
numbers. Printed for both pairs: the largest relative difference of the bound over the steps, and the relative L2
distance of every weight tensor after the last one. The second pair says how far rounding alone carries two float32 runs
apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

RUNS = {"c": ("c", {}), "c_reordered": ("c", {"OPENBLAS_CORETYPE": "Haswell"}), "xla": ("xla", {})}


def run_steps(engine_name: str, steps: int, data_dir: Path | None, seed: int, output: Path) -> None:
    """Train ``steps`` steps and save the bound of each and all weights."""
    from parmesan_cagem import config, engines, training_step
    from parmesan_cagem.batches import epoch_inputs
    from parmesan_cagem.data import load
    from parmesan_cagem.models.cagem import CaGeM
    from parmesan_cagem.partition import partition

    e = config.experiment("paper", labels=100, engine=engine_name, seed=seed)
    data = load("mnist", data_dir)
    parts = partition(data, e)
    chosen, labelled = parts.unlabelled, parts.labelled
    step = training_step.build(
        CaGeM(e, data.train_images.shape[1]),
        e,
        data.train_images[chosen],
        data.train_images[labelled],
        e.label_weights(len(chosen), len(labelled)),
        data.train_labels[labelled],
    )
    run = engines.get(e.engine).steps(step.inputs, list(step.outputs.values()), step.updates.items(), "parity")
    values = run(*(sequence[:steps] for sequence in epoch_inputs(e, 0, len(chosen), len(labelled))))
    run.pull()
    weights = {f"weights/{n}": v.get_value() for n, v in step.state.items() if n.startswith("weights/")}
    streams = {n: v.get_value() for n, v in step.state.items() if n.startswith("random/")}
    np.savez(output, **weights, **streams, F=values[list(step.outputs).index("F")])


def compare(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, object]:
    """Largest relative difference of F, relative L2 distances of the weights, whether the random streams agree."""
    distances = {
        name.removeprefix("weights/"): float(np.linalg.norm(a[name] - b[name]) / max(np.linalg.norm(a[name]), 1e-30))
        for name in a
        if name.startswith("weights/")
    }
    return {
        "F": float(np.max(np.abs(a["F"] - b["F"]) / np.abs(a["F"]))),
        "same_random_numbers": all(np.array_equal(a[n], b[n]) for n in a if n.startswith("random/")),
        "weights": distances,
    }


def draw(runs: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """The curves on top of each other, and their differences below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, height_ratios=(2, 1))
    steps = np.arange(1, len(runs["c"]["F"]) + 1)
    top.plot(steps, runs["c"]["F"], lw=4, color="0.7", label="engine c")
    top.plot(steps, runs["xla"]["F"], lw=1.2, color="C3", label="engine xla")
    top.set_ylabel("F of the batch, nats")
    top.legend()
    for name, label in (("xla", "xla against c"), ("c_reordered", "c against c, sums reordered")):
        bottom.semilogy(steps, np.abs(runs[name]["F"] / runs["c"]["F"] - 1) + 1e-9, label=label)
    bottom.axhline(1e-4, color="0.5", ls=":")
    bottom.set_ylabel("relative difference")
    bottom.set_xlabel("step")
    bottom.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})


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
        run_steps(args.child[0], args.steps, args.data_dir, args.seed, Path(args.child[1]))
        return 0
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (engine, variables) in RUNS.items():
            output = Path(folder) / f"{name}.npz"
            # Own processes: OpenBLAS chooses its kernels once, when it is loaded.
            flags = ["--steps", str(args.steps), "--seed", str(args.seed)]
            flags += ["--data-dir", str(args.data_dir)] if args.data_dir else []
            command = [sys.executable, __file__, *flags, "--child", engine, str(output)]
            subprocess.run(command, check=True, env={**os.environ, **variables})
            runs[name] = dict(np.load(output))
    result = {"steps": args.steps, "seed": args.seed}
    for name in ("xla", "c_reordered"):
        result[f"c_against_{name}"] = found = compare(runs["c"], runs[name])
        worst = max(found["weights"], key=found["weights"].get)
        print(
            f"c against {name:12s} F {found['F']:.1e} (largest relative difference of {args.steps} steps); weights: "
            f"median {np.median(list(found['weights'].values())):.1e}, worst {found['weights'][worst]:.1e} ({worst}); "
            f"same random numbers: {found['same_random_numbers']}"
        )
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.figure:
        draw(runs, args.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
