"""The classifiers on a test set, averaged over draws, and what the same draws tell of the latent units."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import theano.tensor as T
from numpy.typing import NDArray

from parmesan_cagem import objectives
from parmesan_cagem.bounds import blocks, noise_widths, split_noise
from parmesan_cagem.config import Experiment
from parmesan_cagem.engines import Engine
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.models.networks import Model
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.progress import Progress
from parmesan_cagem.randomness import Purpose, noise

ACTIVE_VARIANCE = (
    0.01  # Burda et al. (2015): a unit is active if its posterior mean varies more than that over the data
)


@dataclass(frozen=True, eq=False)
class Classification:
    """Per-image averages over draws of the latent variables.

    Attributes
    ----------
    classifiers : dict
        ``q`` and ``p``, those that the model has -> (N, K) float64: q(y|x) and p(y|x). For CaGeM E[q(y|z1,x)] and
        E[sum_c q(c|z1,x) p(y|z2^c)].
    expected_log_p_y : (N,) float64 or None
        E[sum_y q(y|.) log p(y|.)], nats; None without a class.
    mu : dict
        Name of a variable -> its posterior mean, (N, units) float64; that of CaGeM's z2 is
        E[sum_y q(y|z1,x) mu_2(x,y,z1)].
    seconds : float
        Wall time of these images, in all the processes that it took.
    """

    classifiers: Mapping[str, NDArray[np.float64]]
    expected_log_p_y: NDArray[np.float64] | None
    mu: Mapping[str, NDArray[np.float64]]
    seconds: float = 0.0

    def active_units(self) -> dict[str, int]:
        """Units whose posterior mean has a variance over the data above 0.01 (Burda's criterion)."""
        return {name: int((mu.var(axis=0) > ACTIVE_VARIANCE).sum()) for name, mu in self.mu.items()}

    def usage(self) -> NDArray[np.float64]:
        """Share of each of the K clusters: the mean of q(y|x) over images, (K,)."""
        return self.classifiers["q"].mean(axis=0)

    def confusion(self, which: str, labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
        """Images by class and by the largest averaged probability (``which``: "q" or "p"), (classes, K)."""
        counts = np.zeros((classes, self.classifiers[which].shape[1]), dtype=np.int64)
        np.add.at(counts, (labels, self.classifiers[which].argmax(axis=1)), 1)
        return counts

    def error(self, which: str, labels: NDArray[np.int64]) -> float:
        """Percentage of images whose largest averaged probability (``which``: "q" or "p") is not their class's."""
        return 100.0 * float((self.classifiers[which].argmax(axis=1) != labels).mean())

    def cross_entropy(self, which: str, labels: NDArray[np.int64]) -> float:
        """Mean of -log of the averaged probability of the label, nats."""
        chosen = self.classifiers[which][np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float32).tiny)).mean())


def classify(
    model: Model,
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
    x, eps = T.matrix("x"), [T.matrix(f"eps_{v.name}") for v in model.variables]
    sizes = {name: model.classes for name in model.classifiers}
    if model.q_y is not None:
        sizes["log p(y)"] = 1
    sizes.update({v.name: v.units for v in model.variables})
    draws, width = e.class_draws, sum(noise_widths(model))
    name = f"classes/draws {draws}, batch norm {e.bn_eval}, seed {e.eval_seed}"
    table = (ledger or Ledger()).table(name, int(indices.max()) + 1, sum(sizes.values()))
    rows = rows or max(1, engine.rows_per_call // model.classes)
    todo = [block for block in blocks(len(images), max(1, rows // draws)) if not table.done[indices[block]].all()]
    done = len(images) - sum(len(indices[block]) for block in todo)
    if todo:
        terms = model.terms(x, eps, RunningStatistics())
        outputs = [T.exp(log) for log in terms.classifiers.values()]  # (B, K) each
        if model.q_y is not None:
            outputs.append(objectives.expected_log_p_y(terms).dimshuffle(0, "x"))  # (B, 1)
        outputs += [objectives.posterior_mean(terms, v.name) for v in model.variables]  # (B, units)
        function = engine.function([x, *eps], [T.concatenate(outputs, axis=1)], "classify")
    with Progress(len(images), "images", "classifying", quiet, done) as progress:
        for block in todo:
            clock = time.monotonic()
            streams = [noise(e.eval_seed, Purpose.CLASSIFICATION, int(i)) for i in indices[block]]
            means = np.zeros((len(streams), sum(sizes.values())))
            for chunk in blocks(draws, rows):
                count = chunk.stop - chunk.start
                drawn = np.concatenate([s.standard_normal((count, width), dtype=np.float32) for s in streams])
                repeated = np.repeat(images[block].astype(np.float32), count, axis=0)
                (values,) = function(repeated, *split_noise(model, drawn))
                means += values.reshape(len(streams), count, -1).sum(axis=1, dtype=np.float64) / draws
            if not np.isfinite(means).all():
                image = indices[block][np.flatnonzero(~np.isfinite(means).all(axis=1))[0]]
                raise FloatingPointError(f"evaluation: the classes of test image {image} are not finite")
            table.put(indices[block], means, time.monotonic() - clock)
            progress.advance(len(streams))
    parts = np.split(table.values[indices], np.cumsum(list(sizes.values()))[:-1], axis=1)
    by_name = dict(zip(sizes, parts, strict=True))
    log_p_y = by_name["log p(y)"][:, 0] if model.q_y is not None else None
    return Classification(
        {name: by_name[name] for name in model.classifiers},
        log_p_y,
        {v.name: by_name[v.name] for v in model.variables},
        float(table.seconds[indices].sum()),
    )
