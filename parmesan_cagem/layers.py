"""Layers that Lasagne 0.1 lacks: reparametrised sampling, merged Gaussians, the class axis of the analytic sum over y.

Rows of a tensor inside the class sum are *pairs* (image, class), image-major: row ``b * K + c``. They are kept flat,
(B*K, H), because one large matrix product is faster than a batched one; :class:`ClassSumLayer` is where they arise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lasagne
import theano.tensor as T
from theano.tensor.var import TensorVariable


class SampleLayer(lasagne.layers.MergeLayer):
    """``z = mu + exp(log_sigma) * eps``: a Gaussian sample by the reparameterization trick (paper section 2).

    The noise is an incoming layer, never drawn here: who calls decides where it comes from, so no two samples can share
    a stream by accident (Parmesan's SampleLayer evaluated its default seed once, at import).

    Parameters
    ----------
    mu, log_sigma, eps : lasagne.layers.Layer
        Shape (rows, D) each; eps ~ N(0, I).
    """

    def __init__(self, mu: Any, log_sigma: Any, eps: Any, **kwargs: Any) -> None:
        super().__init__([mu, log_sigma, eps], **kwargs)

    def get_output_shape_for(self, input_shapes: Sequence[tuple]) -> tuple:
        return input_shapes[0]

    def get_output_for(self, inputs: Sequence[TensorVariable], **kwargs: Any) -> TensorVariable:
        mu, log_sigma, eps = inputs
        return mu + T.exp(log_sigma) * eps


class MergedMeanLayer(lasagne.layers.MergeLayer):
    """Mean of the product of two Gaussian densities (ladder VAE: Soenderby et al., 2016, section 2.1).

    ``(mu_1 sigma_1^-2 + mu_2 sigma_2^-2) / (sigma_1^-2 + sigma_2^-2)``, as weights that a sigmoid of the difference of
    the log sigmas gives: no precision is ever formed, which at log sigma = -45 would overflow.

    Parameters
    ----------
    mu_1, log_sigma_1, mu_2, log_sigma_2 : lasagne.layers.Layer
        Shape (rows, D) each.
    """

    def __init__(self, mu_1: Any, log_sigma_1: Any, mu_2: Any, log_sigma_2: Any, **kwargs: Any) -> None:
        super().__init__([mu_1, log_sigma_1, mu_2, log_sigma_2], **kwargs)

    def get_output_shape_for(self, input_shapes: Sequence[tuple]) -> tuple:
        return input_shapes[0]

    def get_output_for(self, inputs: Sequence[TensorVariable], **kwargs: Any) -> TensorVariable:
        mu_1, log_sigma_1, mu_2, log_sigma_2 = inputs
        log_ratio = 2 * (log_sigma_1 - log_sigma_2)  # of the variances
        # Two sigmoids, for 1 - sigmoid would round the smaller weight away.
        return T.nnet.sigmoid(-log_ratio) * mu_1 + T.nnet.sigmoid(log_ratio) * mu_2


class MergedLogSigmaLayer(lasagne.layers.MergeLayer):
    """Log standard deviation of the product of two Gaussian densities: ``-log(sigma_1^-2 + sigma_2^-2) / 2``.

    Parameters
    ----------
    log_sigma_1, log_sigma_2 : lasagne.layers.Layer
        Shape (rows, D) each.
    """

    def __init__(self, log_sigma_1: Any, log_sigma_2: Any, **kwargs: Any) -> None:
        super().__init__([log_sigma_1, log_sigma_2], **kwargs)

    def get_output_shape_for(self, input_shapes: Sequence[tuple]) -> tuple:
        return input_shapes[0]

    def get_output_for(self, inputs: Sequence[TensorVariable], **kwargs: Any) -> TensorVariable:
        log_sigma_1, log_sigma_2 = inputs
        return log_sigma_1 - 0.5 * T.nnet.softplus(2 * (log_sigma_1 - log_sigma_2))


class ClassSumLayer(lasagne.layers.MergeLayer):
    """Sum of the projections of a collection of incoming edges, over all classes, without tiling any input.

    ``out[b * K + c] = sum_i per_image_i[b] + sum_j per_class_j[c] + sum_l per_pair_l[b * K + c]``

    Parameters
    ----------
    per_image : sequence of lasagne.layers.Layer
        Shape (B, H): projections of x and z1, computed once an image.
    per_class : sequence of lasagne.layers.Layer
        Shape (K, H): projections of the K one-hot values of y.
    per_pair : sequence of lasagne.layers.Layer
        Shape (B*K, H): projections of z2, which differs with the class.
    classes : int
        K.

    Notes
    -----
    With ``get_output(..., classes="given")`` the one-hot input of y holds one class an image, (B, K), and every edge
    has one row an image: the layer is then a plain sum, (B, H). Sampling and the ``sampled`` estimator use it.
    """

    def __init__(
        self, per_image: Sequence[Any], per_class: Sequence[Any], per_pair: Sequence[Any], classes: int, **kwargs: Any
    ) -> None:
        super().__init__([*per_image, *per_class, *per_pair], **kwargs)
        self.kinds = ["image"] * len(per_image) + ["class"] * len(per_class) + ["pair"] * len(per_pair)
        self.classes = classes

    def get_output_shape_for(self, input_shapes: Sequence[tuple]) -> tuple:
        return (None, input_shapes[0][1])

    def get_output_for(self, inputs: Sequence[TensorVariable], classes: str = "all", **kwargs: Any) -> TensorVariable:
        if classes == "given":
            return sum(inputs[1:], inputs[0])  # (B, H)
        expanded = []
        for kind, edge in zip(self.kinds, inputs, strict=True):
            if kind == "image":
                expanded.append(edge.dimshuffle(0, "x", 1))  # (B, 1, H)
            elif kind == "class":
                expanded.append(edge.dimshuffle("x", 0, 1))  # (1, K, H)
            else:
                expanded.append(split_pairs(edge, self.classes))  # (B, K, H)
        total = sum(expanded[1:], expanded[0])  # (B, K, H)
        return T.reshape(total, (-1, inputs[0].shape[1]), ndim=2)  # (B*K, H)


def split_pairs(rows: TensorVariable, classes: int) -> TensorVariable:
    """(B*K, D) -> (B, K, D), or (B*K,) -> (B, K): the inverse of flattening the class axis."""
    if rows.ndim == 1:
        return T.reshape(rows, (-1, classes), ndim=2)
    return T.reshape(rows, (-1, classes, rows.shape[1]), ndim=3)
