"""What a device computes and how fast, in a process of its own (``JAX_PLATFORMS`` chooses the device); see docs/gpu.md.

    python -m benchmarks.on_device probe                                   # which device, in JSON
    python -m benchmarks.on_device results --preset smoke --npz cpu.npz    # steps and F_k, to be compared
    python -m benchmarks.on_device times --preset paper --jsonl times.jsonl --seconds 120

Other processes of this kind must not run beside it: JAX takes most of an accelerator's memory for itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.flops import bound_flops, step_flops
from parmesan_cagem import config, engines, training_step
from parmesan_cagem.batches import epoch_inputs
from parmesan_cagem.bounds import importance_bounds
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset, load
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.errors import UserError
from parmesan_cagem.partition import partition

Arrays = dict[str, np.ndarray]


class Stepper:
    """CaGeM's training step on engine xla, and the inputs of its first epoch, as run_mnist.py would take them."""

    def __init__(self, e: Experiment, data: Dataset) -> None:
        from parmesan_cagem.models.cagem import CaGeM

        parts = partition(data, e)
        n_u, n_l = len(parts.unlabelled), len(parts.labelled)
        images, labelled = data.train_images, parts.labelled
        self.engine = engines.get("xla", precision=e.precision)
        self.model = CaGeM(e, images.shape[1])
        weights, labels = e.label_weights(n_u, n_l), data.train_labels[labelled]
        step = training_step.build(self.model, e, images[parts.unlabelled], images[labelled], weights, labels)
        self.names, self.state = list(step.outputs), step.state
        self._run = self.engine.steps(step.inputs, list(step.outputs.values()), step.updates.items(), "on device")
        self._inputs = epoch_inputs(e, 0, n_u, n_l)

    def take(self, steps: int) -> Arrays:
        """The first steps of the epoch, from the present state: every output, (steps,) or (steps, K)."""
        values = self._run(*(sequence[:steps] for sequence in self._inputs))
        return dict(zip(self.names, values, strict=True))

    def weights(self) -> Arrays:
        self._run.pull()
        return {name: v.get_value() for name, v in self.state.items() if name.startswith("weights/")}


class CompiledOnce:
    """An engine that compiles each function once, so that a second evaluation is timed without compiling."""

    def __init__(self, engine: Any) -> None:
        self._engine, self._functions = engine, {}
        self.rows_per_call = engine.rows_per_call

    def function(self, inputs: Any, outputs: Any, name: str) -> Any:
        if name not in self._functions:
            self._functions[name] = self._engine.function(inputs, outputs, name)
        return self._functions[name]


def experiment(preset: str, precision: str, **changes: Any) -> Experiment:
    """CaGeM-100 on engine xla."""
    return config.experiment(preset, labels=100, engine="xla", precision=precision, **changes)


def results(preset: str, precisions: list[str], data: Dataset, steps: int, images: int) -> Arrays:
    """Outputs of the first steps and the weights after them; F_10 of some images under the initial weights."""
    found: Arrays = {}
    for precision in precisions:
        e = experiment(preset, precision, iw_samples=10)
        stepper = Stepper(e, data)
        binary = binarize(data.test_images[:images], e.pixel_scale, e.eval_seed)
        bounds = importance_bounds(stepper.model, e, stepper.engine, binary, np.arange(images)).bounds
        found |= {f"{precision}/bound/{name}": values for name, values in bounds.items()}
        found |= {f"{precision}/start/{name}": values for name, values in stepper.weights().items()}
        found |= {f"{precision}/step/{name}": values for name, values in stepper.take(steps).items()}
        found |= {f"{precision}/end/{name}": values for name, values in stepper.weights().items()}
        say(f"{precision}: {steps} steps and the bounds of {images} images")
    return found


def times(args: argparse.Namespace, data: Dataset) -> None:
    """Time what there is time for, most important first; a line of JSON for each result, as soon as it is known."""
    deadline, path = time.monotonic() + args.seconds, args.jsonl

    def record(**facts: Any) -> None:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")
        plain = [f"{n} {v:.4g}" if isinstance(v, float) else f"{v}" for n, v in facts.items() if n != "values"]
        say(", ".join(plain))

    first, *others = args.precisions
    trained = time_step(args, data, first, args.batches[0], record)
    for precision in args.precisions:
        if time.monotonic() < deadline:
            time_bound(args, data, precision, trained, record)
    rest = [(p, args.batches[0]) for p in others] + [(p, b) for b in args.batches[1:] for p in args.precisions]
    for precision, batch in rest:
        if time.monotonic() < deadline:
            time_step(args, data, precision, batch, record)
        else:
            say(f"no time left for the step of {batch} in {precision}")


def time_step(args: argparse.Namespace, data: Dataset, precision: str, batch: int, record: Any) -> Arrays:
    """Seconds a step: median over blocks of steps; returns the weights after all of them."""
    e = experiment(args.preset, precision, batch_size=batch)
    stepper = Stepper(e, data)
    clock = time.perf_counter()
    stepper.take(args.steps)
    compiling = time.perf_counter() - clock
    blocks = []
    while len(blocks) < args.rounds:
        clock = time.perf_counter()
        stepper.take(args.steps)
        blocks.append((time.perf_counter() - clock) / args.steps)
    seconds, flops = statistics.median(blocks), step_flops(e, data.train_images.shape[1])
    record(
        what="step",
        precision=precision,
        batch=batch,
        seconds=seconds,
        fastest=min(blocks),
        slowest=max(blocks),
        gflops=flops / seconds / 1e9,
        gflop=flops / 1e9,
        first_block_seconds=compiling,
    )
    return stepper.weights()


def time_bound(args: argparse.Namespace, data: Dataset, precision: str, weights: Arrays, record: Any) -> None:
    """F_k of fixed images under fixed weights: its value in this precision, and (image, sample) rows a second."""
    from parmesan_cagem.models.cagem import CaGeM

    e = experiment(args.preset, precision, iw_samples=args.samples)
    model = CaGeM(e, data.train_images.shape[1])
    for param in model.params():
        param.set_value(weights[f"weights/{param.name}"])
    engine = CompiledOnce(engines.get("xla", precision=precision))
    binary = binarize(data.test_images[: args.images], e.pixel_scale, e.eval_seed)
    indices = np.arange(args.images)
    importance_bounds(model, e, engine, binary, indices)
    clock = time.perf_counter()
    values = importance_bounds(model, e, engine, binary, indices).bounds[f"F_{args.samples}"]
    seconds = time.perf_counter() - clock
    rows = args.images * args.samples
    record(
        what="bound",
        precision=precision,
        k=args.samples,
        images=args.images,
        mean=float(values.mean()),
        values=values.tolist(),
        rows_per_second=rows / seconds,
        gflops=rows * bound_flops(e, data.train_images.shape[1]) / seconds / 1e9,
    )


def probe() -> dict[str, Any]:
    """The device that JAX chose, and how wrong its products are in each precision: TF32 shows here, or its absence."""
    import jax

    from parmesan_cagem import provenance
    from parmesan_cagem.engines.xla import products

    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((512, 512)).astype("float32") for _ in range(2))
    exact, errors = a.astype("float64") @ b, {}
    for name in products.PRECISIONS:
        with products.precision(name):
            product = jax.jit(lambda x, y: products.dot(x, y, "float32"))(a, b)
        errors[name] = float(np.linalg.norm(np.asarray(product) - exact) / np.linalg.norm(exact))
    device = jax.devices()[0]
    return {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "client": "; ".join(device.client.platform_version.splitlines()),
        "product_errors": errors,
        "versions": provenance.versions(),
        "git": provenance.git_state(),
    }


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Do one of the three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("what", choices=("probe", "results", "times"))
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--precisions", nargs="+", default=["float32", "tf32", "bf16"])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--steps", type=int, default=5, help="steps of a block")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--samples", type=int, default=100, help="k of the timed bound")
    parser.add_argument("--batches", nargs="+", type=int, default=[100, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120, help="begin nothing later than that")
    parser.add_argument("--npz", type=Path)
    parser.add_argument("--jsonl", type=Path)
    args = parser.parse_args()
    if args.what == "probe":
        print(json.dumps(probe()))
        return 0
    try:
        data = load("mnist", args.data_dir)
    except UserError as error:
        say(str(error))
        return error.exit_status
    if args.what == "results":
        np.savez(args.npz, **results(args.preset, args.precisions, data, args.steps, args.images))
    else:
        times(args, data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
