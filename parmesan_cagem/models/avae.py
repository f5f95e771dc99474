"""The auxiliary variational auto-encoder of Maaloe et al. (2016), with L layers."""

from __future__ import annotations

from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import SampleLayer
from parmesan_cagem.models.networks import Gaussian, Variable
from parmesan_cagem.models.vae import VAE


class AVAE(VAE):
    """A VAE with one auxiliary variable a layer, which makes q(z|x) richer and leaves p(x,z) as it is.

    ==========  ==================================================================================================
    generative  p(zL) = N(0, I)   p(zl|zl+1) = N   p(x|z1) = Bernoulli   p(al|zl,...,zL) = N
    inference   q(a1|x) = N       q(z1|a1,x) = N   q(al|al-1,x) = N      q(zl|al,zl-1) = N, for l above 1
    ==========  ==================================================================================================

    This is our reading of their section on generative performance. There p(a_i|z_{>=i}) has one edge from each of zi to
    zL; and a, of which every layer has ``a_dim`` units, is in no conditional of x and z, so p(x) is the VAE's.
    Inference draws a1, z1, a2, z2, ..., zL.

    Attributes
    ----------
    levels : tuple of Variable
        z1 to zL.
    a : list of SampleLayer
        One sample of a1 to aL, (B, a) each.
    q_a, p_a : list of tuple of Layer
        (mu, log sigma) of q(al|...) and of p(al|zl,...,zL).
    """

    def _build(self, e: Experiment) -> None:
        self.a: list[SampleLayer] = []
        self.z: list[SampleLayer] = []
        self.q_a: list[Gaussian] = []
        self.q_z: list[Gaussian] = []
        pairs: list[tuple[Variable, Variable]] = []
        for level, units in enumerate(e.latent_units, start=1):
            a = self._noise(f"a{level}", e.a_dim)
            z = self._noise(f"z{level}", units, analytic=level == e.layers)
            a_below = {f"a{level - 1}": self.a[-1]} if self.a else {}
            z_below = {f"z{level - 1}": self.z[-1]} if self.z else {"x": self.x}
            q_a, a_sample = self._posterior(a, level, {"x": self.x, **a_below})
            q_z, z_sample = self._posterior(z, level, {**z_below, a.name: a_sample})
            self.q_a.append(q_a)
            self.a.append(a_sample)
            self.q_z.append(q_z)
            self.z.append(z_sample)
            pairs.append((a, z))
        self.variables = tuple(v for pair in pairs for v in pair)
        self.levels = tuple(z for _, z in pairs)
        self._finish()
        self.p_a = [
            self._gaussian(f"p_{a.name}", self._network(f"p_{a.name}", level + 1, self._from(level)), a.units)
            for level, (a, _) in enumerate(pairs, start=1)
        ]
        self.heads = [head for pair in (*self.q_a, *self.p_a) for head in pair] + self.heads

    def _from(self, level: int) -> dict[str, SampleLayer]:
        """The samples of zl to zL, by name."""
        return {z.name: z for z in self.z[level - 1 :]}

    def _conditionals(self) -> list[tuple[SampleLayer, Gaussian, Gaussian | None]]:
        auxiliary = zip(self.a, self.q_a, self.p_a, strict=True)
        return [each for both in zip(auxiliary, super()._conditionals(), strict=True) for each in both]
