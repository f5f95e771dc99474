"""Take a tiny model's steps on some devices: ``python device_steps.py COUNT OUTPUT.npz``; prints what it ran on."""

import sys

import numpy as np

from parmesan_cagem.engines.xla.engine import XLA

import toy  # isort: skip, it imports Theano, which the package must prepare first
import toy_step  # isort: skip

ROWS = 8  # of a batch: divides by 1, 2, 4 and 8


def main(count, output):
    toy_step.STEP.update(batch_size=ROWS, labelled_batch_size=ROWS)
    toy_step.LABELLED = np.random.default_rng(5).integers(0, 256, (9, toy.X_DIM)).astype("uint8")
    toy_step.LABELS = np.arange(9) % 3
    toy.ENGINE = XLA(devices=count)
    step = toy_step.Step()
    rng = np.random.default_rng(8)
    batches = [np.array([rng.permutation(rows)[:ROWS] for _ in range(3)], "int32") for rows in (12, 9)]
    outputs = step.function(*batches, np.linspace(0.1, 1, 3, dtype="float32"), np.full(3, 1e-3, "float32"))
    step.function.pull()
    named = dict(zip(step.built.outputs, outputs, strict=True))
    np.savez(output, **{f"outputs/{name}": value for name, value in named.items()}, **step.state())
    print(toy.ENGINE.device)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
