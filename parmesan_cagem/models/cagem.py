"""CaGeM as a Lasagne graph: six conditionals, one network per collection of incoming edges (paper Figure 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import theano.tensor as T
from lasagne.layers import InputLayer, get_output
from theano.gradient import disconnected_grad
from theano.tensor.var import TensorVariable

from parmesan_cagem import densities
from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import SampleLayer, split_pairs
from parmesan_cagem.models.networks import Model
from parmesan_cagem.models.terms import Latent, Terms
from parmesan_cagem.normalisation import Statistics


class CaGeM(Model):
    """The Cluster-aware Generative Model.

    =============  =======================================  ================================
    generative     p(z2) = N(0, I)                          p(y|z2) = Cat
    .              p(z1|y,z2) = N                           p(x|y,z1) = Bernoulli
    inference      q(z1|x) = N                              q(y|z1,x) = Cat
    .              q(z2|x,y,z1) = N (x -> z2: the skip)
    =============  =======================================  ================================

    Attributes
    ----------
    q_z1, q_z2, p_z1 : tuple of Layer
        (mu, log sigma): (B, z1), (B*K, z2), (B*K, z1).
    z1, z2 : SampleLayer
        One sample of q(z1|x), (B, z1), and of q(z2|x,y,z1) for every class, (B*K, z2).
    q_y, p_y, p_x : Layer
        Logits: (B, K), (B*K, K), (B*K, D).
    """

    classifiers = ("q", "p")
    labelled_sums_over_y = True
    routes_gradients = True

    def _build(self, e: Experiment) -> None:
        self.classes = e.clusters
        self.y = InputLayer((None, e.clusters), input_var=T.eye(e.clusters), name="y")
        z1 = self._noise("z1", e.z1_dim)
        z2 = self._noise("z2", e.z2_dim, per_class=True, analytic=True)
        self.variables = (z1, z2)

        d = self._network("q_z1", 1, per_image={"x": self.x})
        self.q_z1 = self._gaussian("q_z1", d, e.z1_dim)
        self.z1 = SampleLayer(*self.q_z1, z1.eps, name="z1")

        d = self._network("q_y", 1, per_image={"x": self.x, "z1": self.z1})
        self.q_y = self._logits("q_y", d, e.clusters)

        skip = {"x": self.x} if e.skip else {}
        d = self._network("q_z2", 2, per_image={**skip, "z1": self.z1}, per_class={"y": self.y})
        self.q_z2 = self._gaussian("q_z2", d, e.z2_dim)
        self.z2 = SampleLayer(*self.q_z2, z2.eps, name="z2")

        d = self._network("p_y", 2, per_pair={"z2": self.z2})
        self.p_y = self._logits("p_y", d, e.clusters)

        d = self._network("p_z1", 2, per_class={"y": self.y}, per_pair={"z2": self.z2})
        self.p_z1 = self._gaussian("p_z1", d, e.z1_dim)

        d = self._network("p_x", 1, per_image={"z1": self.z1}, per_class={"y": self.y})
        self.p_x = self._logits("p_x", d, self.x_dim)
        self.heads = [*self.q_z1, self.q_y, *self.q_z2, self.p_y, *self.p_z1, self.p_x]

    @property
    def theta_y(self) -> list[Any]:
        """All trainable parameters of p(y|z2)."""
        return [p for p in self.params(trainable=True) if p.name.startswith("p_y.")]

    @property
    def phi_y(self) -> list[Any]:
        """All trainable parameters of q(y|z1,x)."""
        return [p for p in self.params(trainable=True) if p.name.startswith("q_y.")]

    @property
    def routed(self) -> frozenset[Any]:
        """theta_y and phi_y."""
        return frozenset([*self.theta_y, *self.phi_y])

    def terms(
        self,
        x: TensorVariable,
        noise: Sequence[TensorVariable],
        statistics: Statistics,
        y: TensorVariable | None = None,
    ) -> Terms:
        layers = [*self.heads, self.z1, self.z2]
        inputs = self.inputs(x, noise)
        if y is not None:
            inputs[self.y] = y
        outputs = get_output(layers, inputs, statistics=statistics, classes="all" if y is None else "given")
        mu_1, log_sigma_1, y_logits, mu_2, log_sigma_2, py_logits, p_mu_1, p_log_sigma_1, x_logits, z1, z2 = outputs
        q_y, p_y = densities.log_softmax(y_logits), densities.log_softmax(py_logits)  # (B, K), (B*K, K)

        def pairs(rows: TensorVariable) -> TensorVariable:
            return split_pairs(rows, self.classes) if y is None else rows

        def image(rows: TensorVariable) -> TensorVariable:
            return rows.dimshuffle(0, "x", 1) if y is None else rows

        p_y_of = pairs(p_y)  # (B, K, K), y' of p(y'|z2^y) last; with y (B, K)
        own_class = T.eye(self.classes, dtype=p_y.dtype).dimshuffle("x", 0, 1) if y is None else y
        zero = T.zeros_like(mu_2)
        latents = {
            "z1": Latent(
                log_p=densities.log_normal(image(z1), pairs(p_mu_1), pairs(p_log_sigma_1)),
                log_q=densities.log_normal(z1, mu_1, log_sigma_1),
                mu=mu_1,
                log_sigma=log_sigma_1,
                z=z1,
            ),
            "y": Latent(log_p=T.sum(p_y_of * own_class, axis=-1), log_q=q_y if y is None else T.sum(q_y * y, axis=1)),
            "z2": Latent(
                log_p=pairs(densities.log_standard_normal(z2)),
                log_q=pairs(densities.log_normal(z2, mu_2, log_sigma_2)),
                mu=pairs(mu_2),
                log_sigma=pairs(log_sigma_2),
                z=pairs(z2),
                kl=pairs(densities.kl_normal(mu_2, log_sigma_2, zero, zero)),
            ),
        }
        classifiers = {"q": q_y}
        if y is None:
            classifiers["p"] = densities.log_sum_exp(q_y.dimshuffle(0, 1, "x") + p_y_of, axis=1)
        return Terms(densities.log_bernoulli(image(x), pairs(x_logits)), latents, classifiers)

    def class_logits(self, top: TensorVariable, statistics: Statistics) -> TensorVariable | None:
        return get_output(self.p_y, {self.z2: top}, statistics=statistics, classes="given")

    def generate(
        self, noise: Sequence[TensorVariable], statistics: Statistics, y: TensorVariable | None = None
    ) -> TensorVariable:
        eps_z1, z2 = noise
        how = {"statistics": statistics, "classes": "given"}
        known = {self.z2: z2, self.y: y}
        mu, log_sigma = get_output(list(self.p_z1), known, **how)  # (N, z1) each
        return get_output(self.p_x, {**known, self.z1: mu + T.exp(log_sigma) * eps_z1}, **how)  # (N, D)

    def labelled(
        self, x: TensorVariable, y: TensorVariable, noise: Sequence[TensorVariable], statistics: Statistics
    ) -> Mapping[str, TensorVariable]:
        """The cross-entropies of both classifiers (paper section 4): ``H_q`` and ``H_p``, (L,) each, nats."""
        log_q, log_p = self.class_log_probabilities(x, noise, statistics)
        return {"H_q": densities.cross_entropy(log_q, y), "H_p": densities.cross_entropy(log_p, y)}

    def class_log_probabilities(
        self, x: TensorVariable, noise: Sequence[TensorVariable], statistics: Statistics
    ) -> tuple[TensorVariable, TensorVariable]:
        """The two classifiers, with one sample of z1 and of every z2^c (paper section 4).

        ``q(y|x) = E[q(y|z1,x)]`` and ``p(y|x) = E[sum_c q(c|z1,x) p(y|z2^c)]``

        The paper: "we consider the cross-entropies only a function of theta_y and phi_y". So the gradient stops at z1
        where it enters q(y|z1,x), and at every z2^c where it enters p(y|z2); the weights q(c|z1,x) stay connected to
        phi_y. ``routing="full"`` leaves out both stops: the ablation of the paper's claim that the rest would overfit
        the labels.

        Returns
        -------
        log_q, log_p : TensorVariable
            (B, K) each.
        """
        paper = self.experiment.routing == "paper"
        stop: Callable[[TensorVariable], TensorVariable] = disconnected_grad if paper else (lambda z: z)
        images = self.inputs(x, noise)
        z1 = get_output(self.z1, images, statistics=statistics)  # (B, z1)
        y_logits = get_output(self.q_y, {**images, self.z1: stop(z1)}, statistics=statistics)  # (B, K)
        known = {**images, self.z1: z1, self.q_y: y_logits}
        z2 = get_output(self.z2, known, statistics=statistics)  # (B*K, z2)
        py_logits = get_output(self.p_y, {**known, self.z2: stop(z2)}, statistics=statistics)  # (B*K, K)
        log_q = densities.log_softmax(y_logits)
        log_p_each = split_pairs(densities.log_softmax(py_logits), self.classes)  # (B, K, K)
        log_p = densities.log_sum_exp(log_q.dimshuffle(0, 1, "x") + log_p_each, axis=1)
        return log_q, log_p
