"""CaGeM as a Lasagne graph: six conditionals, one network per collection of incoming edges (paper Figure 2)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import lasagne
import numpy as np
import theano.tensor as T
from lasagne.layers import DenseLayer, ElemwiseSumLayer, InputLayer, NonlinearityLayer

from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import ClassSumLayer, SampleLayer
from parmesan_cagem.normalisation import BatchNormLayer

Gaussian = tuple[Any, Any]  # layers of mu and log sigma


class CaGeM:
    """The Cluster-aware Generative Model.

    =============  =======================================  ================================
    generative     p(z2) = N(0, I)                          p(y|z2) = Cat
    .              p(z1|y,z2) = N                           p(x|y,z1) = Bernoulli
    inference      q(z1|x) = N                              q(y|z1,x) = Cat
    .              q(z2|x,y,z1) = N (x -> z2: the skip)
    =============  =======================================  ================================

    Parameters
    ----------
    experiment : Experiment
        Widths, dimensions, K, skip connection, batch normalisation.
    x_dim : int
        Pixels of an image.

    Attributes
    ----------
    x, eps_z1, eps_z2, y : InputLayer
        Images (B, D); noise (B, z1) and (B*K, z2); one-hot classes: (K, K), the identity, when summing over y.
    q_z1, q_z2, p_z1 : tuple of Layer
        (mu, log sigma): (B, z1), (B*K, z2), (B*K, z1).
    z1, z2 : SampleLayer
        One sample of q(z1|x), (B, z1), and of q(z2|x,y,z1) for every class, (B*K, z2).
    q_y, p_y, p_x : Layer
        Logits: (B, K), (B*K, K), (B*K, D).
    """

    def __init__(self, experiment: Experiment, x_dim: int) -> None:
        e = self.experiment = experiment
        self.classes, self.x_dim = e.clusters, x_dim
        self.x = InputLayer((None, x_dim), name="x")
        self.y = InputLayer((None, e.clusters), input_var=T.eye(e.clusters), name="y")
        self.eps_z1 = InputLayer((None, e.z1_dim), name="eps_z1")
        self.eps_z2 = InputLayer((None, e.z2_dim), name="eps_z2")
        tapered = e.widths == "tapered"
        around_x = (e.wide, e.narrow) if tapered else (e.wide, e.wide)
        around_z2 = (e.wide, e.narrow) if tapered else (e.narrow, e.narrow)
        with _lasagne_rng(e.seed):
            d = self._network("q_z1", around_x, per_image={"x": self.x})
            self.q_z1 = self._gaussian("q_z1", d, e.z1_dim)
            self.z1 = SampleLayer(*self.q_z1, self.eps_z1, name="z1")

            d = self._network("q_y", around_x, per_image={"x": self.x, "z1": self.z1})
            self.q_y = self._logits("q_y", d, e.clusters)

            skip = {"x": self.x} if e.skip else {}
            d = self._network("q_z2", around_z2, per_image={**skip, "z1": self.z1}, per_class={"y": self.y})
            self.q_z2 = self._gaussian("q_z2", d, e.z2_dim)
            self.z2 = SampleLayer(*self.q_z2, self.eps_z2, name="z2")

            d = self._network("p_y", around_z2, per_pair={"z2": self.z2})
            self.p_y = self._logits("p_y", d, e.clusters)

            d = self._network("p_z1", around_z2, per_class={"y": self.y}, per_pair={"z2": self.z2})
            self.p_z1 = self._gaussian("p_z1", d, e.z1_dim)

            d = self._network("p_x", around_x, per_image={"z1": self.z1}, per_class={"y": self.y})
            self.p_x = self._logits("p_x", d, x_dim)

    @property
    def heads(self) -> list[Any]:
        """The output layers of the six conditionals."""
        return [*self.q_z1, self.q_y, *self.q_z2, self.p_y, *self.p_z1, self.p_x]

    def params(self, **tags: bool) -> list[Any]:
        """Shared variables, in network order; names are ``q_z1.edge_x.W`` and so on. Tags as in Lasagne."""
        return lasagne.layers.get_all_params(self.heads, **tags)

    @property
    def theta_y(self) -> list[Any]:
        """All trainable parameters of p(y|z2)."""
        return [p for p in self.params(trainable=True) if p.name.startswith("p_y.")]

    @property
    def phi_y(self) -> list[Any]:
        """All trainable parameters of q(y|z1,x)."""
        return [p for p in self.params(trainable=True) if p.name.startswith("q_y.")]

    @property
    def batch_norms(self) -> list[BatchNormLayer]:
        """Batch-norm layers in network order: each after all those that it depends on."""
        return [layer for layer in lasagne.layers.get_all_layers(self.heads) if isinstance(layer, BatchNormLayer)]

    def _network(
        self,
        name: str,
        widths: tuple[int, int],
        per_image: dict[str, Any] | None = None,
        per_class: dict[str, Any] | None = None,
        per_pair: dict[str, Any] | None = None,
    ) -> Any:
        """D = NN(edges): a dense projection per edge, summed; BN, ReLU; dense, BN, ReLU (paper section 5)."""
        first, second = widths

        def project(edges: dict[str, Any] | None) -> list[Any]:
            return [self._dense(f"{name}.edge_{k}", v, first, is_y=k == "y") for k, v in (edges or {}).items()]

        image, klass, pair = project(per_image), project(per_class), project(per_pair)
        if klass:
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
