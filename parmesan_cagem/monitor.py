"""What a log watches besides the training pass: F, H_q, H_p under the running averages, on given labelled images.

On the labelled training images they must stay close to their training values: a network that recognises the labelled
batch by its statistics fails exactly here. On held-out images they show overfitting (H_p overfits theta_y, see docs).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import theano.tensor as T
from numpy.typing import NDArray

from parmesan_cagem import densities, objectives
from parmesan_cagem.config import Experiment
from parmesan_cagem.engines import Engine
from parmesan_cagem.models.networks import Model
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.randomness import Purpose, generator

ROWS = 100

Monitor = Callable[[NDArray[np.uint8], NDArray[np.int64], int], dict[str, float]]


def compile_monitor(model: Model, e: Experiment, engine: Engine) -> Monitor:
    """Compile the monitor.

    Returns
    -------
    callable
        ``monitor(images, labels, epoch)``: binary images (N, D), labels (N,), and the epoch, which seeds the noise; one
        sample of every variable an image. Returns means over images, in nats: ``F`` and, with a class, ``H_q`` and
        ``H_p`` where there is such a classifier, ``expected_log_p_y`` and ``KL_y``.
    """
    x, y = T.matrix("x"), T.ivector("y")
    noise_inputs = [T.matrix(f"eps_{v.name}") for v in model.variables]
    terms = model.terms(x, noise_inputs, RunningStatistics())
    outputs = {"F": objectives.bound(terms)}
    outputs.update({f"H_{name}": densities.cross_entropy(log, y) for name, log in terms.classifiers.items()})
    if model.q_y is not None:
        outputs["expected_log_p_y"] = objectives.expected_log_p_y(terms)
        outputs["KL_y"] = objectives.decomposition(terms)["KL_y"]
    inputs = [x, *([y] if terms.classifiers else []), *noise_inputs]
    function = engine.function(inputs, list(outputs.values()), "monitor")

    def monitor(images: NDArray[np.uint8], labels: NDArray[np.int64], epoch: int) -> dict[str, float]:
        noise = generator(e.seed, Purpose.MONITOR, epoch)
        sums = np.zeros(len(outputs))
        for start in range(0, len(images), ROWS):
            rows = images[start : start + ROWS].astype(np.float32)
            classes = [labels[start : start + ROWS].astype(np.int32)] if terms.classifiers else []
            eps = [noise.standard_normal(shape, dtype=np.float32) for shape in model.noise_shapes(len(rows))]
            sums += [float(value.sum(dtype=np.float64)) for value in function(rows, *classes, *eps)]
        return dict(zip(outputs, (sums / len(images)).tolist(), strict=True))

    return monitor
