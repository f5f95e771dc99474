"""What all models are made of: networks of incoming edges, heads, variables, and the parameters they have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lasagne
import numpy as np
from lasagne.layers import DenseLayer, ElemwiseSumLayer, InputLayer, NonlinearityLayer
from theano.tensor.var import TensorVariable

from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import ClassSumLayer
from parmesan_cagem.models.terms import Terms
from parmesan_cagem.normalisation import BatchNormLayer, Statistics
from parmesan_cagem.widths import hidden_widths

Gaussian = tuple[Any, Any]  # layers of mu and log sigma


@dataclass(frozen=True, eq=False)
class Variable:
    """A Gaussian variable that inference draws.

    Attributes
    ----------
    name : str
        ``z1``, ``z2``, ``a`` ...
    units : int
    eps : InputLayer
        Its noise: (B, units), or (B*K, units) with ``per_class``.
    per_class : bool
        Whether the sum over y has an own sample for every class.
    analytic : bool
        Whether :class:`Terms` has its KL divergence in closed form.
    """

    name: str
    units: int
    eps: Any
    per_class: bool = False
    analytic: bool = False


class Model:
    """A generative model p, an inference model q, and the bound's terms; what training and evaluation know of a model.

    A subclass builds its graph in ``_build`` and says its densities in :meth:`terms`.

    Parameters
    ----------
    experiment : Experiment
        Widths, dimensions, K, batch normalisation.
    x_dim : int
        Pixels of an image.

    Attributes
    ----------
    x : InputLayer
        Images (B, D).
    y : InputLayer
        One-hot classes: (K, K), the identity, when summing over y; (B, K) where classes are given. Absent without y.
    variables : tuple of Variable
        From x upwards: z1 to zL. The last one is the top, drawn first by the generative model (and by the ladder's
        inference).
    heads : list of Layer
        The output layers of all conditionals.
    q_y, p_x : Layer
        Logits of q(y|.), (B, K), or None; of p(x|.), (B, D) or (B*K, D).
    classes : int
        K; 1 without y.
    classifiers : tuple of str
        The names in ``Terms.classifiers``.
    """

    variables: tuple[Variable, ...]
    heads: list[Any]
    p_x: Any
    q_y: Any = None
    classes: int = 1
    classifiers: tuple[str, ...] = ()
    # Whether the labelled pass sums over y (CaGeM's classifiers do) or is given the labels.
    labelled_sums_over_y: bool = False
    # Whether the labelled pass may train some of the parameters only (CaGeM's theta_y and phi_y).
    routes_gradients: bool = False

    def __init__(self, experiment: Experiment, x_dim: int) -> None:
        self.experiment, self.x_dim = experiment, x_dim
        self.x = InputLayer((None, x_dim), name="x")
        with _lasagne_rng(experiment.seed):
            self._build(experiment)

    def _build(self, e: Experiment) -> None:
        """Make the layers, in network order: set ``variables``, ``heads``, ``p_x`` and, with y, ``q_y``."""
        raise TypeError("a subclass builds the graph")

    def terms(
        self,
        x: TensorVariable,
        noise: Sequence[TensorVariable],
        statistics: Statistics,
        y: TensorVariable | None = None,
    ) -> Terms:
        """Run one pass through the model and evaluate every log-density.

        Parameters
        ----------
        x : TensorVariable
            Binary images, (B, D).
        noise : sequence of TensorVariable
            Standard normal noise of every variable, in their order: (B, units), or (B*K, units) with ``per_class``.
        statistics : Statistics
            What batch normalisation uses in this pass.
        y : TensorVariable, optional
            One-hot classes, (B, K): every term is then (B,), and all noise (B, units). Otherwise all classes.
        """
        raise TypeError("a subclass says its densities")

    def labelled(
        self, x: TensorVariable, y: TensorVariable, noise: Sequence[TensorVariable], statistics: Statistics
    ) -> Mapping[str, TensorVariable]:
        """What the objective adds for labelled images, by name: ``H_q``, ``H_p`` and ``F_labelled``, (L,) each.

        Parameters
        ----------
        y : TensorVariable
            Classes, (L,) integers.
        noise : sequence of TensorVariable
            As in :meth:`terms`: per class if ``labelled_sums_over_y``, else one row an image.
        """
        raise TypeError(f"{type(self).__name__} has no classes to be labelled")

    def generate(
        self, noise: Sequence[TensorVariable], statistics: Statistics, y: TensorVariable | None = None
    ) -> TensorVariable:
        """Logits of p(x|.) with every variable drawn given those above it: (N, D).

        Parameters
        ----------
        noise : sequence of TensorVariable
            Standard normal, (N, units) of every variable, in their order; the last one, the top, is its noise itself.
        y : TensorVariable, optional
            One-hot classes, (N, K), of a model that has some.
        """
        raise TypeError("a subclass says how it generates")

    def class_logits(self, top: TensorVariable, statistics: Statistics) -> TensorVariable | None:
        """Logits of p(y|z) for values of the top variable, (N, units) -> (N, K); None where p(y) has no such parent."""
        return None

    def noise_shapes(self, rows: int, given: bool = False) -> list[tuple[int, int]]:
        """Shapes of the noise of a pass over ``rows`` images, (rows, units) each, or (rows*K, units).

        Parameters
        ----------
        given : bool
            Whether classes are given, instead of summed over.
        """
        return [(rows * (self.classes if v.per_class and not given else 1), v.units) for v in self.variables]

    def inputs(self, x: TensorVariable, noise: Sequence[TensorVariable]) -> dict[Any, TensorVariable]:
        """What ``lasagne.layers.get_output`` is given: images, and the noise of every variable."""
        return {self.x: x, **{v.eps: eps for v, eps in zip(self.variables, noise, strict=True)}}

    @property
    def routed(self) -> frozenset[Any]:
        """Parameters whose gradients are clipped by a norm of their own: those that only the cross-entropies reach."""
        return frozenset()

    def params(self, **tags: bool) -> list[Any]:
        """Shared variables, in network order; names are ``q_z1.edge_x.W`` and so on. Tags as in Lasagne."""
        return lasagne.layers.get_all_params(self.heads, **tags)

    @property
    def batch_norms(self) -> list[BatchNormLayer]:
        """Batch-norm layers in network order: each after all those that it depends on."""
        return [layer for layer in lasagne.layers.get_all_layers(self.heads) if isinstance(layer, BatchNormLayer)]

    def _noise(self, name: str, units: int, **kinds: bool) -> Variable:
        return Variable(name, units, InputLayer((None, units), name=f"eps_{name}"), **kinds)

    def _network(
        self,
        name: str,
        level: int,
        per_image: Mapping[str, Any] | None = None,
        per_class: Mapping[str, Any] | None = None,
        per_pair: Mapping[str, Any] | None = None,
    ) -> Any:
        """D = NN(edges): a dense projection per edge, summed; BN, ReLU; dense, BN, ReLU (paper section 5).

        Parameters
        ----------
        level : int
            1 around x and z1, 2 around z2, ...: sets the widths (:func:`hidden_widths`).
        per_image, per_class, per_pair : mapping
            Name of the edge -> layer, by the kind of its rows (:class:`ClassSumLayer`).
        """
        first, second = hidden_widths(self.experiment, level)

        def project(edges: Mapping[str, Any] | None) -> list[Any]:
            return [self._dense(f"{name}.edge_{k}", v, first, is_y=k == "y") for k, v in (edges or {}).items()]

        image, klass, pair = project(per_image), project(per_class), project(per_pair)
        if klass or (image and pair):
            total: Any = ClassSumLayer(image, klass, pair, self.classes, name=f"{name}.sum")
        else:
            edges = image or pair
            total = ElemwiseSumLayer(edges, name=f"{name}.sum") if len(edges) > 1 else edges[0]
        weighted = self.experiment.class_bn == "q" and bool(klass or pair)
        d = self._normalised(f"{name}.bn1", total, weighted)
        return self._normalised(f"{name}.bn2", self._dense(f"{name}.dense2", d, second), weighted)

    def _dense(self, name: str, incoming: Any, units: int, is_y: bool = False) -> Any:
        # No bias: the batch norm that follows would remove it.
        scale = self.experiment.y_edge_scale if is_y else 1.0
        weights = lasagne.init.GlorotNormal(gain=scale * np.sqrt(2))
        return DenseLayer(incoming, units, W=weights, b=None, nonlinearity=None, name=name)

    def _normalised(self, name: str, incoming: Any, weighted: bool) -> Any:
        weights = self.q_y if weighted else None
        normalised = BatchNormLayer(incoming, weights, self.experiment.bn_epsilon, name=name)
        return NonlinearityLayer(normalised, lasagne.nonlinearities.rectify)

    @staticmethod
    def _gaussian(name: str, d: Any, units: int) -> Gaussian:
        """Mu = Linear(d), log sigma = Linear(d); small at first, for unscaled log sigmas explode at step 0."""
        heads = [
            DenseLayer(d, units, W=lasagne.init.Normal(1e-3), nonlinearity=None, name=f"{name}.{head}")
            for head in ("mu", "log_sigma")
        ]
        return heads[0], heads[1]

    @staticmethod
    def _logits(name: str, d: Any, units: int) -> Any:
        return DenseLayer(d, units, W=lasagne.init.GlorotNormal(), nonlinearity=None, name=f"{name}.logits")


@contextlib.contextmanager
def _lasagne_rng(seed: int) -> Iterator[None]:
    """Initialise from ``seed`` and put Lasagne's global generator back afterwards."""
    before = lasagne.random.get_rng()
    lasagne.random.set_rng(np.random.RandomState(seed))
    try:
        yield
    finally:
        lasagne.random.set_rng(before)
