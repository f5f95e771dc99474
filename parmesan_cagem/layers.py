"""Layers that Lasagne 0.1 lacks: reparametrised sampling, and the class axis of the analytic sum over y.

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
