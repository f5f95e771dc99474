"""Seconds per training step of every model, full width, engines xla and c, in one run.

    python -m benchmarks.models --json models.json                   # ten models, two engines: 20 processes, 15 GiB
    python -m benchmarks.models --only cagem-100,vae --engines xla --rounds 5

Each model's own settings, as ``run_mnist.py --model NAME`` takes them, and its own training step: batches of 100, with
100 labelled images beside them where the name ends in 100 (and for m2). Every contestant runs in a process of its own,
which sleeps while it is not its turn: in every round each runs one block of steps, in an order that rotates. Times are
medians over rounds, ratios are taken within a round. Peak memory is resident memory, of stepping and, with compiling,
since the start. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rounds
from benchmarks.children import Child
from benchmarks.contestants import engine, present

MODELS: dict[str, dict[str, Any]] = {
    "cagem-0": {"model": "cagem", "labels": 0},
    "cagem-100": {"model": "cagem", "labels": 100},
    "vae": {"model": "vae"},
    "iwae": {"model": "iwae", "train_iw": 5},
    "lvae-2": {"model": "lvae", "layers": 2},
    "lvae-5": {"model": "lvae", "layers": 5},
    "adgm-100": {"model": "adgm", "labels": 100},
    "sdgm-100": {"model": "sdgm", "labels": 100},
    "avae": {"model": "avae"},
    "m2": {"model": "m2", "labels": 100},
}
ENGINES = ("xla", "c")
BASELINE = "cagem-100/xla"
IMAGES = 2000  # a step gathers its batch from so many: more would only fill the memory of twenty processes


class ModelStep:
    """A model's training step on an engine, and the inputs of a block of steps.

    Parameters
    ----------
    name : str
        A key of :data:`MODELS`.
    which : str
        An engine.
    preset : str
        Of the networks' sizes.
    data_dir : str or None
    """

    def __init__(self, name: str, which: str, preset: str, data_dir: str | None) -> None:
        from parmesan_cagem import models, training_step
        from parmesan_cagem.config import experiment
        from parmesan_cagem.data import load
        from parmesan_cagem.partition import partition
        from parmesan_cagem.presets import PRESETS

        images = min(IMAGES, PRESETS[preset].get("train_images", IMAGES))
        self._e = e = experiment(preset, **{**MODELS[name], "train_images": images})
        data = load(e.dataset, Path(data_dir) if data_dir else None)
        parts = partition(data, e)
        model = models.build(e, data.train_images.shape[1])
        self._sizes = [(len(parts.unlabelled), e.batch_size)]
        if e.labels:
            self._sizes.append((len(parts.labelled), min(e.labelled_batch_size, len(parts.labelled))))
        built = training_step.build(
            model,
            e,
            data.train_images[parts.unlabelled],
            data.train_images[parts.labelled] if e.labels else None,
            e.label_weights(len(parts.unlabelled), max(len(parts.labelled), 1)),
            data.train_labels[parts.labelled],
        )
        self._names = list(built.outputs)
        self._parameters = sum(p.get_value(borrow=True).size for p in model.params(trainable=True))
        self._run = engine(which).steps(built.inputs, list(built.outputs.values()), list(built.updates.items()), "step")

    def parameters(self) -> int:
        """Trained numbers of the model."""
        return self._parameters

    def run(self, steps: int) -> dict[str, np.ndarray]:
        """That many steps on random batches; every output, a row for each step."""
        rng = np.random.default_rng(0)
        batches = [np.stack([rng.permutation(n)[:size] for _ in range(steps)]) for n, size in self._sizes]
        scalars = [np.full(steps, value, "float32") for value in (0.5, self._e.learning_rate)]
        values = self._run(*(batch.astype("int32") for batch in batches), *scalars)
        return dict(zip(self._names, values, strict=True))


def main(argv: list[str] | None = None) -> int:
    """Measure, report."""
    parser = rounds.arguments(__doc__)
    parser.add_argument("--only", type=_listed(MODELS), default=list(MODELS), metavar="NAMES", help=", ".join(MODELS))
    parser.add_argument("--engines", type=_listed(ENGINES), default=list(ENGINES), metavar="NAMES", help="xla,c")
    parser.add_argument("--steps", type=int, default=5, help="steps of a block (default 5)")
    args = parser.parse_args(argv)
    pairs = [(name, which) for name in args.only for which in present(args.engines, rounds.say)]
    facts = rounds.machine()
    found = measure(pairs, args.preset, args.data_dir, args.steps, args.rounds)
    report(facts, found, args.steps)
    settings = {"preset": args.preset, "rounds": args.rounds, "steps": args.steps}
    rounds.write(args.json, {"machine": facts, **settings, "contestants": found})
    return 0


def _listed(known: Sequence[str] | dict[str, Any]) -> Any:
    """``a,b`` -> names that are known; a model's own name stands for all of its kind."""

    def parse(text: str) -> list[str]:
        chosen = []
        for word in text.split(","):
            matching = [name for name in known if word in (name, name.partition("-")[0])]
            if not matching:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(known)}")
            chosen += [name for name in matching if name not in chosen]
        return chosen

    return parse


def measure(
    pairs: Sequence[tuple[str, str]], preset: str, data_dir: str | None, steps: int, count: int
) -> dict[str, dict[str, Any]]:
    """Compile and warm up one after the other, then the interleaved rounds."""
    children: dict[str, Child] = {}
    compiling: dict[str, dict[str, Any]] = {}
    for name, which in pairs:
        label = f"{name}/{which}"
        rounds.say(f"{label}: compile and warm up")
        child = children[label] = Child(label, ModelStep, name, which, preset, data_dir)
        first = child.ask("run", steps).seconds
        child.ask("run", steps)
        parameters = child.ask("parameters").value
        compiling[label] = {
            "parameters": parameters,
            "first_block_seconds": first,
            "peak_bytes_with_compiling": child.peak_bytes(),
        }
        child.forget_peak()
    rounds.say(f"{count} rounds")
    tasks = {label: lambda child=child: child.ask("run", steps).seconds / steps for label, child in children.items()}
    seconds = rounds.interleave(tasks, count)
    found = {
        label: {"seconds": seconds[label], "peak_bytes": child.peak_bytes(), **compiling[label]}
        for label, child in children.items()
    }
    for child in children.values():
        child.close()
    return found


def report(facts: dict[str, Any], found: dict[str, dict[str, Any]], steps: int) -> None:
    """Print Markdown."""
    baseline = BASELINE if BASELINE in found else next(iter(found))
    base, rows = found[baseline]["seconds"], []
    for label, c in found.items():
        seconds, low, high = rounds.spread(c["seconds"])
        ratio, least, most = rounds.ratios(c["seconds"], base)
        rows.append(
            [
                label,
                f"{seconds:.4f} ({low:.4f} to {high:.4f})",
                f"{ratio:.2f} ({least:.2f} to {most:.2f})",
                f"{c['parameters'] / 1e6:.2f}",
                f"{c['peak_bytes'] / 2**20:.0f}",
                f"{c['peak_bytes_with_compiling'] / 2**20:.0f}",
                f"{c['first_block_seconds']:.0f}",
            ]
        )
    print(f"{rounds.heading(facts)}\n\n{len(base)} rounds of {steps} steps: median (smallest to largest)\n")
    memory = ("MiB", "MiB, compiling too", "first block, s")
    print(rounds.table(["", "s a step", f"ratio to {baseline}", "million weights", *memory], rows))


if __name__ == "__main__":
    raise SystemExit(main())
