"""Tiny ADGMs, SDGMs and M2s, an independent forward pass of them in NumPy, and their formulas in loops."""

from types import SimpleNamespace

import numpy as np
import toy
from scipy.special import log_softmax

from parmesan_cagem import models
from parmesan_cagem.config import Experiment

NAMES = ("adgm", "sdgm", "m2")
WITH_A = ("adgm", "sdgm")
K = 3


def experiment(name, **changes):
    a = {"a_dim": 4} if name in WITH_A else {}
    return Experiment(**{**toy.SIZES, "model": name, "clusters": K, **a, **changes})


def model(name, x_dim=toy.X_DIM, **changes):
    """A tiny model with random weights of every kind, running averages included."""
    built = models.build(experiment(name, **changes), x_dim)
    toy.randomise(built, 0)
    return built


def draws(built, count, seed=0, given=False):
    """x and the noise of every variable, for ``count`` images."""
    rng = np.random.default_rng([seed, 2])
    return toy.images(count, built.x_dim, seed), [rng.normal(size=s) for s in built.noise_shapes(count, given)]


def named(terms):
    """Everything in a model's Terms, by name."""
    values = {"p_x": terms.p_x}
    for name, v in terms.latents.items():
        parts = {"log_p": v.log_p, "log_q": v.log_q, "mu": v.mu, "z": v.z, "kl": v.kl}
        values.update({f"{part}_{name}": value for part, value in parts.items() if value is not None})
    values.update({f"classifier_{name}": value for name, value in terms.classifiers.items()})
    return values


class Oracle(toy.Oracle):
    """In NumPy, float64, from a dict of weights by name; one row for every pair (image, class), tiled."""

    def forward(self, x, noise, statistics="running", y=None):
        """Every log-density of one sample: (B, K), or (B,) with classes ``y`` given; names as in :func:`named`."""
        self.seen = {}
        b, k, name = len(x), self.k, self.e.model
        t, known = SimpleNamespace(), {"x": x}
        if name in WITH_A:
            d = self.hidden("q_a", {"x": x}, statistics)
            t.mu_a, s = self.head("q_a.mu", d), self.head("q_a.log_sigma", d)
            t.z_a = t.mu_a + np.exp(s) * noise[0]
            t.log_q_a = toy.log_normal(t.z_a, t.mu_a, s)
            known["a"] = t.z_a
        q_y = log_softmax(self.head("q_y.logits", self.hidden("q_y", known, statistics)), axis=1)
        # Row b * K + c is image b with class c.
        image = [i for i in range(b) for _ in range(k)] if y is None else list(range(b))
        classes = [c for _ in range(b) for c in range(k)] if y is None else list(y)
        share = np.exp(q_y).ravel() if y is None else None
        rows = {edge: value[image] for edge, value in known.items()}
        one_hot = self.one_hot(classes)
        d = self.hidden("q_z1", {**rows, "y": one_hot}, statistics, share)
        mu, s = self.head("q_z1.mu", d), self.head("q_z1.log_sigma", d)
        z = mu + np.exp(s) * noise[-1]

        def split(values):
            return values.reshape(b, k, *values.shape[1:]) if y is None else values

        if name in WITH_A:
            p_a = self.p_a(one_hot, z, rows["x"], statistics, share)
            t.log_p_a = split(toy.log_normal(rows["a"], *p_a))
        logits = self.p_x(one_hot, z, statistics, share, a=rows.get("a"))
        t.p_x = split(toy.log_bernoulli(rows["x"], logits))
        t.classifier_q = q_y
        t.log_q_y = q_y if y is None else np.array([q_y[i, c] for i, c in enumerate(classes)])
        t.log_p_y = np.full(t.p_x.shape, np.log(1 / k))
        t.log_p_z1, t.log_q_z1 = split(toy.log_normal(z, 0.0, 0.0)), split(toy.log_normal(z, mu, s))
        t.mu_z1, t.z_z1 = split(mu), split(z)
        t.kl_z1 = split(0.5 * (np.exp(2 * s) + mu**2 - 1 - 2 * s).sum(axis=1))
        return t

    def p_a(self, y, z, x, statistics="running", share=None):
        edges = {"x": x} if self.e.model == "adgm" else {}
        d = self.hidden("p_a", {**edges, "y": y, "z1": z}, statistics, share)
        return self.head("p_a.mu", d), self.head("p_a.log_sigma", d)

    def p_x(self, y, z, statistics="running", share=None, a=None):
        """Logits."""
        edges = {"a": a} if self.e.model == "sdgm" else {}
        return self.head("p_x.logits", self.hidden("p_x", {**edges, "y": y, "z1": z}, statistics, share))


# The published formulas, in loops over images and classes. M2 has no a.


def _a(t, part):
    return getattr(t, part, np.zeros(t.p_x.shape))


def bound(t, temperature=1.0):
    """U(x) = sum_y q(y|a,x) [log p(x|.) + T (...)] - T log q(a|x)."""
    values = []
    for b in range(len(t.p_x)):
        value = -temperature * np.ravel(_a(t, "log_q_a")[b])[0]
        for c in range(K):
            log_p = t.log_p_y[b, c] + t.log_p_z1[b, c] + _a(t, "log_p_a")[b, c]
            latent = log_p - t.log_q_y[b, c] - t.log_q_z1[b, c]
            value += np.exp(t.log_q_y[b, c]) * (t.p_x[b, c] + temperature * latent)
        values.append(value)
    return np.array(values)


def log_weight(t):
    """log sum_y p(x,a,y,z^y) / (q(a|x) q(z^y|a,y,x))."""
    values = []
    for b in range(len(t.p_x)):
        total = 0.0
        for c in range(len(t.p_x[b])):
            log_p = t.p_x[b, c] + np.log(1 / len(t.p_x[b])) + t.log_p_z1[b, c] + _a(t, "log_p_a")[b, c]
            total += np.exp(log_p - np.ravel(_a(t, "log_q_a")[b])[0] - t.log_q_z1[b, c])
        values.append(np.log(total))
    return np.array(values)


def labelled(t):
    """L(x,y) = log p(x,y,a,z) - log q(a|x) - log q(z|a,y,x), of a pass with classes given."""
    return t.p_x + np.log(1 / K) + t.log_p_z1 + _a(t, "log_p_a") - _a(t, "log_q_a") - t.log_q_z1
