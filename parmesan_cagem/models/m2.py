"""M2 of Kingma et al. (2014): a class and one Gaussian variable, trained end to end, without features of an M1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import theano.tensor as T
from lasagne.layers import InputLayer, get_output
from theano.tensor.var import TensorVariable

from parmesan_cagem import densities
from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import SampleLayer, split_pairs
from parmesan_cagem.models.networks import Model, Variable
from parmesan_cagem.models.terms import Latent, Terms
from parmesan_cagem.normalisation import Statistics


class M2(Model):
    """A model of images with a class: p(y) uniform, z independent of it (Kingma et al., 2014, section 2).

    ==========  ==================================================================
    generative  p(z) = N(0, I)    p(y) = 1/K    p(x|y,z) = Bernoulli
    inference   q(y|x) = Cat      q(z|x,y) = N
    ==========  ==================================================================

    The class is summed over for unlabelled images, U(x) = F(x), and given for labelled ones. As published the objective
    is ``sum_u U(x) + sum_l [L(x,y) + alpha log q(y|x)]``, with ``L = log p(x,y,z) - log q(z|x,y)``, and every term
    trains every parameter that it depends on. The training step takes means: ``mean_u U + labelled_bound mean_l L - w
    mean_l H_q``. The temperature weighs the unlabelled bound only.

    z is called ``z1`` here, has ``z1_dim`` units, and q(z|.) has the narrow networks of CaGeM's z2, for in both models
    it is the variable that is drawn last, once for every class.

    Attributes
    ----------
    q_z1 : tuple of Layer
        (mu, log sigma) of q(z|.): (B*K, z1).
    z1 : SampleLayer
        One sample of it for every class, (B*K, z1).
    """

    classifiers = ("q",)

    def _build(self, e: Experiment) -> None:
        self.classes = e.clusters
        self.y = InputLayer((None, e.clusters), input_var=T.eye(e.clusters), name="y")
        first, known = self._before_y(e)
        self.q_y = self._logits("q_y", self._network("q_y", 1, known), e.clusters)

        z1 = self._noise("z1", e.z1_dim, per_class=True, analytic=True)
        self.variables = (*first, z1)
        self.q_z1 = self._gaussian("q_z1", self._network("q_z1", 2, known, {"y": self.y}), e.z1_dim)
        self.z1 = SampleLayer(*self.q_z1, z1.eps, name="z1")
        self.heads = [self.q_y, *self.q_z1]
        self._decoders(e)

    def _before_y(self, e: Experiment) -> tuple[tuple[Variable, ...], dict[str, Any]]:
        """The variables drawn before y, and the layers that every later inference network knows: x and those."""
        return (), {"x": self.x}

    def _decoders(self, e: Experiment) -> None:
        """Set ``p_x`` and extend ``heads``."""
        self.p_x = self._logits("p_x", self._network("p_x", 1, None, {"y": self.y}, {"z1": self.z1}), self.x_dim)
        self.heads.append(self.p_x)

    def terms(
        self,
        x: TensorVariable,
        noise: Sequence[TensorVariable],
        statistics: Statistics,
        y: TensorVariable | None = None,
    ) -> Terms:
        inputs = self.inputs(x, noise)
        if y is not None:
            inputs[self.y] = y
        layers = [self.q_y, *self.q_z1, self.z1, self.p_x, *self._auxiliary_layers()]
        how = {"statistics": statistics, "classes": "all" if y is None else "given"}
        y_logits, mu, log_sigma, z1, x_logits, *auxiliary = get_output(layers, inputs, **how)
        q_y = densities.log_softmax(y_logits)  # (B, K)
        log_q_y = q_y if y is None else T.sum(q_y * y, axis=1)
        zero = T.zeros_like(mu)
        latents = {
            **self._auxiliary_latents(auxiliary, all_classes=y is None),
            "y": Latent(log_p=T.zeros_like(log_q_y) - math.log(self.classes), log_q=log_q_y),
            "z1": Latent(
                log_p=self._by_class(densities.log_standard_normal(z1), y is None),
                log_q=self._by_class(densities.log_normal(z1, mu, log_sigma), y is None),
                mu=self._by_class(mu, y is None),
                log_sigma=self._by_class(log_sigma, y is None),
                z=self._by_class(z1, y is None),
                kl=self._by_class(densities.kl_normal(mu, log_sigma, zero, zero), y is None),
            ),
        }
        images = x.dimshuffle(0, "x", 1) if y is None else x
        p_x = densities.log_bernoulli(images, self._by_class(x_logits, y is None))
        return Terms(p_x, latents, {"q": q_y})

    def _by_class(self, rows: TensorVariable, all_classes: bool) -> TensorVariable:
        """(B*K, ...) -> (B, K, ...) where all classes are summed over; with a class given, rows are images already."""
        return split_pairs(rows, self.classes) if all_classes else rows

    def _auxiliary_layers(self) -> list[Any]:
        return []

    def _auxiliary_latents(self, outputs: Sequence[TensorVariable], all_classes: bool) -> dict[str, Latent]:
        """Terms of the variables drawn before y, from the outputs of ``_auxiliary_layers``."""
        return {}

    def labelled(
        self, x: TensorVariable, y: TensorVariable, noise: Sequence[TensorVariable], statistics: Statistics
    ) -> Mapping[str, TensorVariable]:
        """``F_labelled``, a bound on log p(x, y), and ``H_q`` = -log q(y|.) of the same sample; (L,) each, nats.

        ``F_labelled = log p(x, y, z, ...) - log q(z, ...|x, y)``: log p(y) counts, log q(y|.) does not.
        """
        one_hot = T.eq(T.arange(self.classes).dimshuffle("x", 0), y.dimshuffle(0, "x"))  # (L, K)
        terms = self.terms(x, noise, statistics, y=T.cast(one_hot, x.dtype))
        bound = terms.p_x  # (L,)
        for name, v in terms.latents.items():
            bound = bound + v.log_p - (0 if name == "y" else v.log_q)
        return {"F_labelled": bound, "H_q": -terms.latents["y"].log_q}

    def generate(
        self, noise: Sequence[TensorVariable], statistics: Statistics, y: TensorVariable | None = None
    ) -> TensorVariable:
        return get_output(self.p_x, {self.y: y, self.z1: noise[-1]}, statistics=statistics, classes="given")
