"""The ladder VAE: a VAE whose inference runs down again, through the generative model (Soenderby et al., 2016)."""

from __future__ import annotations

from typing import Any

from parmesan_cagem.config import Experiment
from parmesan_cagem.layers import MergedLogSigmaLayer, MergedMeanLayer, SampleLayer
from parmesan_cagem.models.networks import Gaussian
from parmesan_cagem.models.vae import VAE


class LadderVAE(VAE):
    """A VAE whose q(zl|x, zl+1) is the precision-weighted merge of what x says of zl and of p(zl|zl+1).

    ==========  ============================================================================
    generative  p(zL) = N(0, I)   p(zl|zl+1) = N   p(x|z1) = Bernoulli: the VAE's
    bottom-up   d1 = NN(x)   dl = NN(dl-1)   mu_hat_l, log_sigma_hat_l = Linear(dl)
    inference   q(zL|x) = N(mu_hat_L, sigma_hat_L^2)
    .           q(zl|x, zl+1) proportional to N(zl; mu_hat_l, sigma_hat_l^2) p(zl|zl+1)
    ==========  ============================================================================

    zL is drawn first. So every KL divergence from p(zl|zl+1) has a closed form, given the sample of zl+1.

    Attributes
    ----------
    q_hat : list of tuple of Layer
        (mu_hat, log sigma_hat) for l = 1 to L, (B, units) each.
    """

    def _build(self, e: Experiment) -> None:
        self.variables = tuple(
            self._noise(f"z{level}", units, analytic=True) for level, units in enumerate(e.latent_units, start=1)
        )
        self.levels = self.variables
        self.q_hat: list[Gaussian] = []
        below: dict[str, Any] = {"x": self.x}
        for level, v in enumerate(self.variables, start=1):
            d = self._network(f"q_{v.name}", level, below)
            self.q_hat.append(self._gaussian(f"q_{v.name}", d, v.units))
            below = {f"d{level}": d}
        top = self.variables[-1]
        self.q_z, self.p_z = [self.q_hat[-1]], []
        self.z = [SampleLayer(*self.q_z[0], top.eps, name=top.name)]
        for level in range(len(self.variables) - 1, 0, -1):  # from zL-1 down to z1; lists stay in the order z1 to zL
            v, (mu, log_sigma) = self.variables[level - 1], self.q_hat[level - 1]
            self.p_z.insert(0, self._decoder(level, self.z[0]))
            p_mu, p_log_sigma = self.p_z[0]
            q = (
                MergedMeanLayer(mu, log_sigma, p_mu, p_log_sigma, name=f"q_{v.name}.merged_mu"),
                MergedLogSigmaLayer(log_sigma, p_log_sigma, name=f"q_{v.name}.merged_log_sigma"),
            )
            self.q_z.insert(0, q)
            self.z.insert(0, SampleLayer(*q, v.eps, name=v.name))
        self.p_x = self._likelihood()
        self.heads = [head for pair in (*self.q_hat, *self.p_z) for head in pair] + [self.p_x]
