"""Batch normalisation whose statistics are chosen by the caller of each pass, and its running averages.

The paper: "We only collect statistics for the batch-normalization during unlabelled inference." A training step has
two passes through the same layers, so the layer itself must not decide which of them counts. ``get_output`` is told:

* ``statistics=BatchStatistics()``       the pass's own, remembered per layer (the unlabelled pass);
* ``statistics=GivenStatistics(other)``  those that another pass remembered (the labelled pass);
* ``statistics=RunningStatistics()``     the running averages (evaluation).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import lasagne
import theano.tensor as T
from theano.gradient import disconnected_grad
from theano.tensor.var import TensorVariable

from parmesan_cagem.densities import log_softmax

Moments = tuple[TensorVariable, TensorVariable]  # mean (H,), variance (H,)


class Statistics(Protocol):
    """Supplies the mean and variance, (H,) each, that a layer normalises by."""

    def moments(self, layer: BatchNormLayer, rows: TensorVariable, weights: TensorVariable | None) -> Moments: ...


class BatchNormLayer(lasagne.layers.MergeLayer):
    """``gamma * (a - mean) / sqrt(variance + epsilon) + beta`` over rows (Ioffe & Szegedy, 2015; constants Lasagne's).

    Parameters
    ----------
    incoming : lasagne.layers.Layer
        Shape (rows, H).
    class_weights : lasagne.layers.Layer or None
        Logits of q(y|z1,x), (B, K), when the rows are B*K pairs and ``class_bn=q``: rows then count in the batch
        statistics by the disconnected q(y|z1,x), so that classes that F hardly trains do not set them.
    epsilon : float
        Added to the variance.

    Notes
    -----
    ``running_mean`` and ``running_variance`` (the variance itself, not 1/sigma) are parameters tagged not trainable;
    :func:`running_average_updates` is the only thing that moves them.
    """

    def __init__(self, incoming: Any, class_weights: Any = None, epsilon: float = 1e-4, **kwargs: Any) -> None:
        super().__init__([incoming] if class_weights is None else [incoming, class_weights], **kwargs)
        units = (self.input_shapes[0][1],)
        self.epsilon = epsilon
        self.gamma = self.add_param(lasagne.init.Constant(1), units, "gamma")
        self.beta = self.add_param(lasagne.init.Constant(0), units, "beta")
        fixed = {"trainable": False, "regularizable": False}
        self.running_mean = self.add_param(lasagne.init.Constant(0), units, "running_mean", **fixed)
        self.running_variance = self.add_param(lasagne.init.Constant(1), units, "running_variance", **fixed)

    def get_output_shape_for(self, input_shapes: Sequence[tuple]) -> tuple:
        return input_shapes[0]

    def get_output_for(
        self, inputs: Sequence[TensorVariable], statistics: Statistics, classes: str = "all", **kwargs: Any
    ) -> TensorVariable:
        rows = inputs[0]  # (rows, H)
        weights = None
        if len(inputs) == 2 and classes == "all":  # with a class given, a row is an image
            q_y = disconnected_grad(T.exp(log_softmax(inputs[1])))  # (B, K)
            weights = T.flatten(q_y)  # (B*K,)
        mean, variance = statistics.moments(self, rows, weights)  # (H,), (H,)
        scale = self.gamma / T.sqrt(variance + self.epsilon)  # (H,)
        # The same values and gradients as (rows - mean) * scale + beta. The mean's gradient goes through a vector that
        # is zero, so that it comes from the sum over rows that beta's needs anyway, instead of from another one.
        centre = disconnected_grad(mean)
        shift = self.beta - (mean - centre) * scale  # (H,)
        return (rows - centre) * scale + shift


class BatchStatistics:
    """Each layer's statistics over the rows of this pass; ``seen`` remembers them, in network order."""

    def __init__(self) -> None:
        self.seen: OrderedDict[BatchNormLayer, Moments] = OrderedDict()

    def moments(self, layer: BatchNormLayer, rows: TensorVariable, weights: TensorVariable | None) -> Moments:
        self.seen[layer] = weighted_moments(rows, weights)
        return self.seen[layer]


class GivenStatistics:
    """The statistics that another pass remembered.

    Parameters
    ----------
    source : BatchStatistics
        The other pass's.
    constant : bool
        Whether they are constants, so that no gradient flows into that pass: where gradients are routed (CaGeM) they
        must be. Where this pass trains all weights (ADGM) they must not: the gradient would miss that weights move
        the statistics with them, and spend itself on scales and means that the next step's statistics undo.
    """

    def __init__(self, source: BatchStatistics, constant: bool = True) -> None:
        self.source, self.constant = source, constant

    def moments(self, layer: BatchNormLayer, rows: TensorVariable, weights: TensorVariable | None) -> Moments:
        mean, variance = self.source.seen[layer]
        return (disconnected_grad(mean), disconnected_grad(variance)) if self.constant else (mean, variance)


class RunningStatistics:
    """The running averages."""

    def moments(self, layer: BatchNormLayer, rows: TensorVariable, weights: TensorVariable | None) -> Moments:
        return layer.running_mean, layer.running_variance


def weighted_moments(rows: TensorVariable, weights: TensorVariable | None) -> Moments:
    """Mean and (biased) variance over rows, (rows, H) -> (H,), (H,); equal weights when ``weights`` (rows,) is None."""
    # The variance's derivative by the mean, -2 sum (rows - mean), is zero: Theano need not sum it up to find that out.
    if weights is None:
        mean = T.mean(rows, axis=0)
        return mean, T.mean(T.sqr(rows - disconnected_grad(mean)), axis=0)
    share = weights / T.sum(weights)  # (rows,)
    mean = T.dot(share, rows)
    return mean, T.dot(share, T.sqr(rows - disconnected_grad(mean)))


def running_average_updates(statistics: BatchStatistics, momentum: float) -> OrderedDict:
    """One step of every running average: ``average <- (1 - momentum) average + momentum statistic``.

    Parameters
    ----------
    statistics : BatchStatistics
        The unlabelled pass's.
    momentum : float
        Weight of the newest step (Lasagne's ``alpha``).

    Returns
    -------
    OrderedDict
        Shared variable -> new expression.
    """
    updates: OrderedDict = OrderedDict()
    for layer, (mean, variance) in statistics.seen.items():
        updates[layer.running_mean] = (1 - momentum) * layer.running_mean + momentum * mean
        updates[layer.running_variance] = (1 - momentum) * layer.running_variance + momentum * variance
    return updates
