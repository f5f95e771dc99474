"""The auxiliary and the skip deep generative model of Maaloe et al. (2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import theano.tensor as T
from lasagne.layers import get_output
from theano.tensor.var import TensorVariable

from parmesan_cagem import densities
from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import SampleLayer
from parmesan_cagem.models.m2 import M2
from parmesan_cagem.models.networks import Variable
from parmesan_cagem.models.terms import Latent
from parmesan_cagem.normalisation import Statistics


class ADGM(M2):
    """M2 with an auxiliary variable a, which makes q(z,y|x) richer and leaves p(x,y,z) as it is.

    ==========  ====================================================================================
    generative  p(z) = N(0, I)    p(y) = 1/K    p(x|y,z) = Bernoulli    p(a|x,y,z) = N
    inference   q(a|x) = N        q(y|a,x) = Cat                        q(z|a,y,x) = N
    ==========  ====================================================================================

    Objective and names as in :class:`M2`; ``L = log p(x,y,a,z) - log q(a|x) - log q(z|a,y,x)``. The networks are
    CaGeM's, so that the models compare: wide ones for q(a|x), q(y|a,x) and p(x|.), narrow ones for q(z|.) and p(a|.).

    Attributes
    ----------
    q_a, p_a : tuple of Layer
        (mu, log sigma): (B, a), (B*K, a).
    a : SampleLayer
        One sample of q(a|x), (B, a): it is drawn before y, so all classes share it.
    """

    def _before_y(self, e: Experiment) -> tuple[tuple[Variable, ...], dict[str, Any]]:
        a = self._noise("a", e.a_dim)
        self.q_a = self._gaussian("q_a", self._network("q_a", 1, {"x": self.x}), e.a_dim)
        self.a = SampleLayer(*self.q_a, a.eps, name="a")
        return (a,), {"x": self.x, "a": self.a}

    def _decoders(self, e: Experiment) -> None:
        d = self._network("p_a", 2, {"x": self.x}, {"y": self.y}, {"z1": self.z1})
        self.p_a = self._gaussian("p_a", d, e.a_dim)
        self.heads = [*self.q_a, *self.heads, *self.p_a]
        super()._decoders(e)

    def _auxiliary_layers(self) -> list[Any]:
        return [*self.q_a, self.a, *self.p_a]

    def _auxiliary_latents(self, outputs: Sequence[TensorVariable], all_classes: bool) -> dict[str, Latent]:
        mu, log_sigma, a, p_mu, p_log_sigma = outputs
        rows = a.dimshuffle(0, "x", 1) if all_classes else a
        parents = [self._by_class(head, all_classes) for head in (p_mu, p_log_sigma)]  # (B, K, a) each
        log_p, log_q = densities.log_normal(rows, *parents), densities.log_normal(a, mu, log_sigma)
        return {"a": Latent(log_p=log_p, log_q=log_q, mu=mu, log_sigma=log_sigma, z=a)}


class SDGM(ADGM):
    """The skip variant: a is a stochastic layer between (y, z) and x.

    ==========  ====================================================================================
    generative  p(z) = N(0, I)    p(y) = 1/K    p(a|y,z) = N    p(x|a,y,z) = Bernoulli
    inference   q(a|x) = N        q(y|a,x) = Cat                q(z|a,y,x) = N
    ==========  ====================================================================================
    """

    def _decoders(self, e: Experiment) -> None:
        pair = {"per_class": {"y": self.y}, "per_pair": {"z1": self.z1}}
        self.p_a = self._gaussian("p_a", self._network("p_a", 2, **pair), e.a_dim)
        self.p_x = self._logits("p_x", self._network("p_x", 1, {"a": self.a}, **pair), self.x_dim)
        self.heads = [*self.q_a, *self.heads, *self.p_a, self.p_x]

    def generate(
        self, noise: Sequence[TensorVariable], statistics: Statistics, y: TensorVariable | None = None
    ) -> TensorVariable:
        eps_a, z1 = noise
        how = {"statistics": statistics, "classes": "given"}
        known = {self.y: y, self.z1: z1}
        mu, log_sigma = get_output(list(self.p_a), known, **how)  # (N, a) each
        return get_output(self.p_x, {**known, self.a: mu + T.exp(log_sigma) * eps_a}, **how)  # (N, D)
