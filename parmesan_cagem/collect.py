"""``bn_eval=collect``: replace the running averages by statistics over the whole training set."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from lasagne.layers import get_output
from numpy.typing import NDArray
from theano.tensor.var import TensorVariable

from parmesan_cagem.config import Experiment
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.engines import Engine
from parmesan_cagem.finite import NumericalError
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.models.networks import Model
from parmesan_cagem.normalisation import BatchNormLayer, Moments, RunningStatistics
from parmesan_cagem.progress import Progress
from parmesan_cagem.randomness import Purpose, noise

ROWS = 500


class _SumsOf(RunningStatistics):
    """Running averages for all layers; keeps the weighted sums of the input of one of them."""

    def __init__(self, target: BatchNormLayer) -> None:
        self.target = target
        self.sums: list[TensorVariable] = []

    def moments(self, layer: BatchNormLayer, rows: TensorVariable, weights: TensorVariable | None) -> Moments:
        if layer is self.target:
            share = T.ones_like(rows[:, 0]) if weights is None else weights  # (rows,)
            self.sums = [T.sum(share), T.dot(share, rows), T.dot(share, T.sqr(rows))]
        return super().moments(layer, rows, weights)


def collect_statistics(
    model: Model,
    e: Experiment,
    engine: Engine,
    images: NDArray,
    indices: NDArray[np.int64],
    quiet: bool = True,
    ledger: Ledger | None = None,
) -> None:
    """Set every layer's running mean and variance to those over all training images, layer by layer in network order.

    Streaming ``mean = E[a]`` and ``variance = E[a^2] - mean^2`` in float64, over all rows, each layer under the
    statistics already collected for those before it; binarisation and noise come from ``e.eval_seed``.

    Parameters
    ----------
    images : (N, D) uint8 or float32
        Training images, before binarisation.
    indices : (N,) int64
        Their places in the training set.
    ledger : Ledger, optional
        Keeps finished layers, and knows those of an interrupted evaluation.

    Raises
    ------
    NumericalError
        A statistic is NaN or Inf; names the layer.
    """
    ledger = ledger or Ledger()
    binary = binarize(images, e.pixel_scale, e.eval_seed, indices)
    layers = model.batch_norms
    with Progress(len(layers) * len(images), "images", "collecting batch statistics", quiet) as progress:
        for layer in layers:
            name = f"collect/seed {e.eval_seed}/{layer.name}"
            moments = ledger.kept(name)
            if moments is not None:
                _set(layer, moments)
                progress.advance(len(images))
                continue
            x, eps = T.matrix("x"), [T.matrix(f"eps_{v.name}") for v in model.variables]
            statistics = _SumsOf(layer)
            get_output(layer, model.inputs(x, eps), statistics=statistics)
            function = engine.function([x, *eps], statistics.sums, f"collect {layer.name}")
            count, first, second = 0.0, np.zeros(()), np.zeros(())
            for start in range(0, len(binary), ROWS):
                rows = binary[start : start + ROWS].astype(np.float32)
                draws = noise(e.eval_seed, Purpose.COLLECT, start)
                normals = [draws.standard_normal(s, dtype=np.float32) for s in model.noise_shapes(len(rows))]
                weight, total, squares = function(rows, *normals)
                count, first, second = count + float(weight), first + total, second + squares
                progress.advance(len(rows))
            mean = first / count
            moments = np.stack([mean, np.maximum(second / count - mean**2, 0)])
            if not np.isfinite(moments).all():
                raise NumericalError(f"evaluation: the statistics of {layer.name} over the training set are not finite")
            ledger.keep(name, moments)
            _set(layer, moments)


def _set(layer: BatchNormLayer, moments: NDArray[np.float64]) -> None:
    """Mean and variance, (2, units), become the layer's running averages."""
    layer.running_mean.set_value(moments[0].astype(np.float32))
    layer.running_variance.set_value(moments[1].astype(np.float32))
