"""Both classifiers on a test set, averaged over draws, and what the same draws tell of the latent units."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import theano.tensor as T
from numpy.typing import NDArray

from parmesan_cagem import objectives
from parmesan_cagem.bounds import blocks
from parmesan_cagem.config import Experiment
from parmesan_cagem.engines import Engine
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.progress import Progress
from parmesan_cagem.randomness import Purpose, noise

ACTIVE_VARIANCE = (
    0.01  # Burda et al. (2015): a unit is active if its posterior mean varies more than that over the data
)


@dataclass(frozen=True, eq=False)
class Classification:
    """Per-image averages over draws of z1 and z2.

    Attributes
    ----------
    q_y, p_y : (N, K) float64
        q(y|x) = E[q(y|z1,x)] and p(y|x) = E[sum_c q(c|z1,x) p(y|z2^c)].
    expected_log_p_y : (N,) float64
        E[sum_y q(y|z1,x) log p(y|z2^y)], nats.
    mu_z1, mu_z2 : (N, z1), (N, z2) float64
        Posterior means; that of z2 is E[sum_y q(y|z1,x) mu_2(x,y,z1)].
    seconds : float
        Wall time of these images, in all the processes that it took.
    """

    q_y: NDArray[np.float64]
    p_y: NDArray[np.float64]
    expected_log_p_y: NDArray[np.float64]
    mu_z1: NDArray[np.float64]
    mu_z2: NDArray[np.float64]
    seconds: float = 0.0

    def active_units(self) -> dict[str, int]:
        """Units whose posterior mean has a variance over the data above 0.01 (Burda's criterion)."""
        pairs = (("z1", self.mu_z1), ("z2", self.mu_z2))
        return {name: int((mu.var(axis=0) > ACTIVE_VARIANCE).sum()) for name, mu in pairs}

    def usage(self) -> NDArray[np.float64]:
        """Share of each of the K clusters: the mean of q(y|x) over images, (K,)."""
        return self.q_y.mean(axis=0)

    def confusion(self, which: str, labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
        """Images by class and by the largest averaged probability (``which``: "q_y" or "p_y"), (classes, K)."""
        counts = np.zeros((classes, getattr(self, which).shape[1]), dtype=np.int64)
        np.add.at(counts, (labels, getattr(self, which).argmax(axis=1)), 1)
        return counts

    def error(self, which: str, labels: NDArray[np.int64]) -> float:
        """Percentage of images whose largest averaged probability (``which``: "q_y" or "p_y") is not their class's."""
        return 100.0 * float((getattr(self, which).argmax(axis=1) != labels).mean())

    def cross_entropy(self, which: str, labels: NDArray[np.int64]) -> float:
        """Mean of -log of the averaged probability of the label, nats."""
        chosen = getattr(self, which)[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())


def classify(
    model: CaGeM,
    e: Experiment,
    engine: Engine,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    quiet: bool = True,
    rows: int | None = None,
    ledger: Ledger | None = None,
) -> Classification:
    """Average ``e.class_draws`` draws for every image, under the running averages.

    Parameters
    ----------
    images : (N, D) uint8
        Binary.
    indices : (N,) int64
        Their places in the test set; they choose each image's noise.
    rows : int, optional
        (image, draw) rows of one call.
    ledger : Ledger, optional
        Keeps finished images, and knows those of an interrupted evaluation.

    Raises
    ------
    FloatingPointError
        A result is NaN or Inf; names the image.
    """
    x, eps_z1, eps_z2 = T.matrix("x"), T.matrix("eps_z1"), T.matrix("eps_z2")
    terms = objectives.log_terms(model, x, eps_z1, eps_z2, RunningStatistics())
    log_q, log_p = objectives.class_log_probabilities_of(terms)
    q_y = T.exp(terms.q_y)  # (B, K)
    outputs = [
        T.exp(log_q),
        T.exp(log_p),
        T.sum(q_y * terms.p_y, axis=1).dimshuffle(0, "x"),
        terms.mu_z1,
        T.sum(q_y.dimshuffle(0, 1, "x") * terms.mu_z2, axis=1),
    ]  # (B, K), (B, K), (B, 1), (B, z1), (B, z2)
    sizes = (e.clusters, e.clusters, 1, e.z1_dim, e.z2_dim)
    draws, width = e.class_draws, e.z1_dim + e.z2_dim * e.clusters
    name = f"classes/draws {draws}, batch norm {e.bn_eval}, seed {e.eval_seed}"
    table = (ledger or Ledger()).table(name, int(indices.max()) + 1, sum(sizes))
    rows = rows or max(1, engine.rows_per_call // e.clusters)
    todo = [block for block in blocks(len(images), max(1, rows // draws)) if not table.done[indices[block]].all()]
    done = len(images) - sum(len(indices[block]) for block in todo)
    if todo:
        function = engine.function([x, eps_z1, eps_z2], [T.concatenate(outputs, axis=1)], "classify")
    with Progress(len(images), "images", "classifying", quiet, done) as progress:
        for block in todo:
            clock = time.monotonic()
            streams = [noise(e.eval_seed, Purpose.CLASSIFICATION, int(i)) for i in indices[block]]
            means = np.zeros((len(streams), sum(sizes)))
            for chunk in blocks(draws, rows):
                count = chunk.stop - chunk.start
                eps = np.concatenate([s.standard_normal((count, width), dtype=np.float32) for s in streams])
                eps_2 = eps[:, e.z1_dim :].reshape(-1, e.z2_dim)
                repeated = np.repeat(images[block].astype(np.float32), count, axis=0)
                (values,) = function(repeated, eps[:, : e.z1_dim], eps_2)
                means += values.reshape(len(streams), count, -1).sum(axis=1, dtype=np.float64) / draws
            if not np.isfinite(means).all():
                image = indices[block][np.flatnonzero(~np.isfinite(means).all(axis=1))[0]]
                raise FloatingPointError(f"evaluation: the classes of test image {image} are not finite")
            table.put(indices[block], means, time.monotonic() - clock)
            progress.advance(len(streams))
    q, p, log_p_y, mu_1, mu_2 = np.split(table.values[indices], np.cumsum(sizes)[:-1], axis=1)
    return Classification(q, p, log_p_y[:, 0], mu_1, mu_2, float(table.seconds[indices].sum()))
