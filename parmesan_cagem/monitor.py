"""What a log watches besides the training pass: F, H_q, H_p under the running averages, on given labelled images.

On the labelled training images they must stay close to their training values: a network that recognises the labelled
batch by its statistics fails exactly here. On held-out images they show overfitting (H_p overfits theta_y, see docs).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import theano.tensor as T
from numpy.typing import NDArray

from parmesan_cagem import objectives
from parmesan_cagem.config import Experiment
from parmesan_cagem.engines import Engine
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.randomness import Purpose, generator

ROWS = 100
NAMES = ("F", "H_q", "H_p", "expected_log_p_y", "KL_y")

Monitor = Callable[[NDArray[np.uint8], NDArray[np.int64], int], dict[str, float]]


def compile_monitor(model: CaGeM, e: Experiment, engine: Engine) -> Monitor:
    """Compile the monitor.

    Returns
    -------
    callable
        ``monitor(images, labels, epoch)``: binary images (N, D), labels (N,), and the epoch, which seeds the noise; one
        sample of z1 and z2 an image. Returns means over images, in nats, by the names in ``NAMES``.
    """
    x, y = T.matrix("x"), T.ivector("y")
    eps_z1, eps_z2 = T.matrix("eps_z1"), T.matrix("eps_z2")
    terms = objectives.log_terms(model, x, eps_z1, eps_z2, RunningStatistics())
    log_q, log_p = objectives.class_log_probabilities_of(terms)
    q_y = T.exp(terms.q_y)  # (B, K)
    outputs = [
        objectives.bound(terms),
        objectives.cross_entropy(log_q, y),
        objectives.cross_entropy(log_p, y),
        T.sum(q_y * terms.p_y, axis=1),
        objectives.decomposition(terms)["KL_y"],
    ]
    function = engine.function([x, y, eps_z1, eps_z2], outputs, "monitor")

    def monitor(images: NDArray[np.uint8], labels: NDArray[np.int64], epoch: int) -> dict[str, float]:
        noise = generator(e.seed, Purpose.MONITOR, epoch)
        sums = np.zeros(len(NAMES))
        for start in range(0, len(images), ROWS):
            rows = images[start : start + ROWS].astype(np.float32)
            eps_1 = noise.standard_normal((len(rows), e.z1_dim), dtype=np.float32)
            eps_2 = noise.standard_normal((len(rows) * e.clusters, e.z2_dim), dtype=np.float32)
            values = function(rows, labels[start : start + ROWS].astype(np.int32), eps_1, eps_2)
            sums += [float(value.sum(dtype=np.float64)) for value in values]
        return dict(zip(NAMES, (sums / len(images)).tolist(), strict=True))

    return monitor
