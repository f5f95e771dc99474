"""The variational auto-encoder with L layers of Gaussian variables and bottom-up inference (paper Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import theano.tensor as T
from lasagne.layers import get_output
from theano.tensor.var import TensorVariable

from parmesan_cagem import densities
from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import SampleLayer
from parmesan_cagem.models.networks import Gaussian, Model
from parmesan_cagem.models.terms import Latent, Terms
from parmesan_cagem.normalisation import Statistics


class VAE(Model):
    """A VAE with L stochastic layers; trained on the importance-weighted bound it is the IWAE (Burda et al., 2015a).

    ==========  ============================================================
    generative  p(zL) = N(0, I)   p(zl|zl+1) = N   p(x|z1) = Bernoulli
    inference   q(z1|x) = N       q(zl+1|zl) = N
    ==========  ============================================================

    Attributes
    ----------
    z : list of SampleLayer
        One sample of every variable, z1 first, (B, units) each.
    q_z, p_z : list of tuple of Layer
        (mu, log sigma) of q(zl|...) for l = 1 to L, and of p(zl|zl+1) for l = 1 to L-1.
    """

    def _build(self, e: Experiment) -> None:
        self.variables = tuple(
            self._noise(f"z{level}", units, analytic=level == e.layers)
            for level, units in enumerate(e.latent_units, start=1)
        )
        self.z: list[SampleLayer] = []
        self.q_z: list[Gaussian] = []
        below = {"x": self.x}
        for level, v in enumerate(self.variables, start=1):
            self.q_z.append(self._gaussian(f"q_{v.name}", self._network(f"q_{v.name}", level, below), v.units))
            self.z.append(SampleLayer(*self.q_z[-1], v.eps, name=v.name))
            below = {v.name: self.z[-1]}
        self.p_z = [self._decoder(level, above) for level, above in enumerate(self.z[1:], start=1)]
        self.p_x = self._likelihood()
        self.heads = [head for pair in (*self.q_z, *self.p_z) for head in pair] + [self.p_x]

    def _decoder(self, level: int, above: SampleLayer) -> Gaussian:
        """p(zl|zl+1)."""
        v = self.variables[level - 1]
        return self._gaussian(f"p_{v.name}", self._network(f"p_{v.name}", level + 1, {above.name: above}), v.units)

    def _likelihood(self) -> Any:
        """Logits of p(x|z1), (B, D)."""
        return self._logits("p_x", self._network("p_x", 1, {self.z[0].name: self.z[0]}), self.x_dim)

    def generate(
        self, noise: Sequence[TensorVariable], statistics: Statistics, y: TensorVariable | None = None
    ) -> TensorVariable:
        z = noise[-1]
        for above, (mu, log_sigma), eps in list(zip(self.z[1:], self.p_z, noise[:-1], strict=True))[::-1]:
            means, log_sigmas = get_output([mu, log_sigma], {above: z}, statistics=statistics)
            z = means + T.exp(log_sigmas) * eps
        return get_output(self.p_x, {self.z[0]: z}, statistics=statistics)

    def terms(
        self,
        x: TensorVariable,
        noise: Sequence[TensorVariable],
        statistics: Statistics,
        y: TensorVariable | None = None,
    ) -> Terms:
        given = {self.x: x, **{v.eps: eps for v, eps in zip(self.variables, noise, strict=True)}}
        flat = [layer for pair in (*self.q_z, *self.p_z) for layer in pair]
        *outputs, logits = get_output([*self.z, *flat, self.p_x], given, statistics=statistics)
        count = len(self.variables)
        z, pairs = outputs[:count], list(zip(outputs[count::2], outputs[count + 1 :: 2], strict=True))
        zero = T.zeros_like(z[-1])
        q_z, p_z = pairs[:count], [*pairs[count:], (zero, zero)]  # (B, units) each: mu, log sigma
        latents = {
            v.name: Latent(
                log_p=densities.log_normal(sample, *p),
                log_q=densities.log_normal(sample, *q),
                mu=q[0],
                log_sigma=q[1],
                z=sample,
                kl=densities.kl_normal(*q, *p) if v.analytic else None,
            )
            for v, sample, q, p in zip(self.variables, z, q_z, p_z, strict=True)
        }
        return Terms(densities.log_bernoulli(x, logits), latents, {})
