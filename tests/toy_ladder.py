"""Tiny ladder VAEs, and an independent forward pass of them in NumPy, with precisions as the paper writes them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import toy

from parmesan_cagem.config import Experiment
from parmesan_cagem.models import build

SIZES = {"model": "lvae", "labels": 0, "layers": 2, "z1_dim": 3, "z2_dim": 2, "widths": "doubled", "wide": 16}


def model(weights=0, x_dim=toy.X_DIM, **changes):
    """With random weights of every kind, running averages included."""
    built = build(Experiment(**{**SIZES, **changes}), x_dim)
    toy.randomise(built, weights)
    return built


def draws(built, count, seed=0):
    """x, and the noise of z1 to zL."""
    rng = np.random.default_rng([seed, 1])
    return toy.images(count, built.x_dim, seed), [rng.normal(size=(count, v.units)) for v in built.variables]


def kl_normal(mu, sigma, mu_0, sigma_0):
    each = np.log(sigma_0 / sigma) + (sigma**2 + (mu - mu_0) ** 2) / (2 * sigma_0**2) - 0.5
    return each.sum(axis=-1)


class Oracle:
    """The ladder in NumPy, float64, from a dict of weights by name; ``statistics`` is "running" or "batch"."""

    def __init__(self, e, weights):
        self.e, self.layers = e, e.layers
        self.w = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}

    @classmethod
    def of(cls, built):
        return cls(built.experiment, toy.weights_of(built))

    def normalise(self, name, a, statistics):
        if statistics == "batch":
            mean, variance = a.mean(axis=0), a.var(axis=0)
        else:
            mean, variance = self.w[f"{name}.running_mean"], self.w[f"{name}.running_variance"]
        return self.w[f"{name}.gamma"] * (a - mean) / np.sqrt(variance + self.e.bn_epsilon) + self.w[f"{name}.beta"]

    def hidden(self, name, edge, rows, statistics):
        d = np.maximum(0, self.normalise(f"{name}.bn1", rows @ self.w[f"{name}.edge_{edge}.W"], statistics))
        return np.maximum(0, self.normalise(f"{name}.bn2", d @ self.w[f"{name}.dense2.W"], statistics))

    def head(self, name, d):
        return d @ self.w[f"{name}.W"] + self.w[f"{name}.b"]

    def gaussian(self, name, d):
        """Mu and sigma."""
        return self.head(f"{name}.mu", d), np.exp(self.head(f"{name}.log_sigma", d))

    def p_z(self, level, above, statistics="running"):
        """Mu and sigma of p(zl|zl+1)."""
        return self.gaussian(f"p_z{level}", self.hidden(f"p_z{level}", f"z{level + 1}", above, statistics))

    def p_x(self, z1, statistics="running"):
        """Logits."""
        return self.head("p_x.logits", self.hidden("p_x", "z1", z1, statistics))

    def forward(self, x, noise, statistics="running"):
        """(log p(x|z1), one namespace a variable, z1 first), of one sample."""
        hat, d = [], x
        for level in range(1, self.layers + 1):
            d = self.hidden(f"q_z{level}", "x" if level == 1 else f"d{level - 1}", d, statistics)
            hat.append(self.gaussian(f"q_z{level}", d))
        latents, above = [], None
        for level in range(self.layers, 0, -1):
            mu, sigma = hat[level - 1]
            p_mu, p_sigma = np.zeros_like(mu), np.ones_like(sigma)
            if level < self.layers:
                p_mu, p_sigma = self.p_z(level, above, statistics)
                precision = 1 / sigma**2 + 1 / p_sigma**2
                mu, sigma = (mu / sigma**2 + p_mu / p_sigma**2) / precision, 1 / np.sqrt(precision)
            above = mu + sigma * noise[level - 1]
            latent = SimpleNamespace(
                log_p=toy.log_normal(above, p_mu, np.log(p_sigma)),
                log_q=toy.log_normal(above, mu, np.log(sigma)),
                mu=mu,
                z=above,
                kl=kl_normal(mu, sigma, p_mu, p_sigma),
            )
            latents.insert(0, latent)
        return toy.log_bernoulli(x, self.p_x(above, statistics)), latents

    def bound(self, x, noise, statistics="running", temperature=1.0):
        """F of every image; the log weight of one sample too, for there is no sum over y."""
        p_x, latents = self.forward(x, noise, statistics)
        return p_x + temperature * sum(v.log_p - v.log_q for v in latents)

    def generate(self, noise):
        """Logits."""
        z = noise[-1]
        for level in range(self.layers - 1, 0, -1):
            mu, sigma = self.p_z(level, z)
            z = mu + sigma * noise[level - 1]
        return self.p_x(z)
