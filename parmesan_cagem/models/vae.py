"""The variational auto-encoder with L layers of Gaussian variables and bottom-up inference (paper Figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import theano.tensor as T
from lasagne.layers import get_output
from theano.tensor.var import TensorVariable

from parmesan_cagem import densities
from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import SampleLayer
from parmesan_cagem.models.networks import Gaussian, Model, Variable
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
    levels : tuple of Variable
        z1 to zL: here all ``variables``.
    z : list of SampleLayer
        One sample of every zl, z1 first, (B, units) each.
    q_z, p_z : list of tuple of Layer
        (mu, log sigma) of q(zl|...) for l = 1 to L, and of p(zl|zl+1) for l = 1 to L-1.
    """

    def _build(self, e: Experiment) -> None:
        self.variables = tuple(
            self._noise(f"z{level}", units, analytic=level == e.layers)
            for level, units in enumerate(e.latent_units, start=1)
        )
        self.levels = self.variables
        self.z: list[SampleLayer] = []
        self.q_z: list[Gaussian] = []
        below = {"x": self.x}
        for level, v in enumerate(self.levels, start=1):
            q, z = self._posterior(v, level, below)
            self.q_z.append(q)
            self.z.append(z)
            below = {v.name: z}
        self._finish()

    def _posterior(self, v: Variable, level: int, edges: Mapping[str, Any]) -> tuple[Gaussian, SampleLayer]:
        """q(v|edges), and a sample of it."""
        q = self._gaussian(f"q_{v.name}", self._network(f"q_{v.name}", level, edges), v.units)
        return q, SampleLayer(*q, v.eps, name=v.name)

    def _decoder(self, level: int, above: SampleLayer) -> Gaussian:
        """p(zl|zl+1)."""
        v = self.levels[level - 1]
        return self._gaussian(f"p_{v.name}", self._network(f"p_{v.name}", level + 1, {above.name: above}), v.units)

    def _likelihood(self) -> Any:
        """Logits of p(x|z1), (B, D)."""
        return self._logits("p_x", self._network("p_x", 1, {self.z[0].name: self.z[0]}), self.x_dim)

    def _finish(self) -> None:
        """p(zl|zl+1) for l = 1 to L-1, p(x|z1), and ``heads``."""
        self.p_z = [self._decoder(level, above) for level, above in enumerate(self.z[1:], start=1)]
        self.p_x = self._likelihood()
        self.heads = [head for pair in (*self.q_z, *self.p_z) for head in pair] + [self.p_x]

    def generate(
        self, noise: Sequence[TensorVariable], statistics: Statistics, y: TensorVariable | None = None
    ) -> TensorVariable:
        drawn = [eps for v, eps in zip(self.variables, noise, strict=True) if v in self.levels]
        z = drawn[-1]
        for above, (mu, log_sigma), eps in list(zip(self.z[1:], self.p_z, drawn[:-1], strict=True))[::-1]:
            means, log_sigmas = get_output([mu, log_sigma], {above: z}, statistics=statistics)
            z = means + T.exp(log_sigmas) * eps
        return get_output(self.p_x, {self.z[0]: z}, statistics=statistics)

    def _conditionals(self) -> list[tuple[SampleLayer, Gaussian, Gaussian | None]]:
        """Of every variable, in their order: its sample, q(v|...), and p(v|...), which is None where it is N(0, I)."""
        return list(zip(self.z, self.q_z, [*self.p_z, None], strict=True))

    def terms(
        self,
        x: TensorVariable,
        noise: Sequence[TensorVariable],
        statistics: Statistics,
        y: TensorVariable | None = None,
    ) -> Terms:
        given = self.inputs(x, noise)
        conditionals = self._conditionals()
        layers = [layer for sample, q, p in conditionals for layer in (sample, *q, *(p or ()))]
        logits, *outputs = get_output([self.p_x, *layers], given, statistics=statistics)
        of = dict(zip(layers, outputs, strict=True))  # (B, units) each
        latents = {}
        for v, (sample, q, p) in zip(self.variables, conditionals, strict=True):
            z, mu, log_sigma = of[sample], of[q[0]], of[q[1]]
            above = (of[p[0]], of[p[1]]) if p else (T.zeros_like(z), T.zeros_like(z))
            latents[v.name] = Latent(
                log_p=densities.log_normal(z, *above),
                log_q=densities.log_normal(z, mu, log_sigma),
                mu=mu,
                log_sigma=log_sigma,
                z=z,
                kl=densities.kl_normal(mu, log_sigma, *above) if v.analytic else None,
            )
        return Terms(densities.log_bernoulli(x, logits), latents, {})
