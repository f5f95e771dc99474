"""Tiny models with weights far from their near-zero start, and an independent forward pass of CaGeM in NumPy."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import theano
from scipy.special import log_softmax
from scipy.stats import norm

from parmesan_cagem import models
from parmesan_cagem.config import Experiment
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.presets import WITH_Y

# Python code instead of C: nothing to compile, and fast enough at these sizes.
ENGINE = TheanoC(mode="FAST_COMPILE")
SIZES = {"labels": 0, "clusters": 3, "z1_dim": 2, "z2_dim": 2, "wide": 4, "narrow": 3}
X_DIM = 5


def precision(dtype):
    """While it lasts, new graphs are in that precision."""
    return theano.config.change_flags(floatX=dtype)


def experiment(**changes):
    """A tiny CaGeM's settings, or those of the model that ``changes`` name."""
    has_y = changes.get("model", "cagem") in WITH_Y
    sizes = SIZES if has_y else {name: size for name, size in SIZES.items() if name != "clusters"}
    return Experiment(**{**sizes, **changes})


def model(x_dim=X_DIM, weights=0, scale=1.0, **changes):
    """A tiny model with random weights of every kind, running averages included."""
    built = models.build(experiment(**changes), x_dim)
    randomise(built, weights, scale)
    return built


def randomise(built, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    for param in built.params():
        shape, kind = param.get_value().shape, param.name.rpartition(".")[2]
        if kind == "W":
            spread = {"log_sigma": 0.15, "logits": 0.3}.get(param.name.split(".")[1], 0.6)
            value = scale * spread * rng.normal(size=shape)
        elif kind in ("gamma", "running_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        else:  # beta, b, running_mean; positive betas keep most units alive
            value = rng.normal(0.3 if kind == "beta" else 0.0, 0.3, shape)
        param.set_value(value.astype(param.dtype))


def weights_of(built):
    return {param.name: param.get_value() for param in built.params()}


def compute(outputs, inputs):
    """The values of a dict of expressions, given a dict from input variables to values."""
    values = [np.asarray(value, dtype=variable.dtype) for variable, value in inputs.items()]
    return dict(zip(outputs, ENGINE.function(list(inputs), list(outputs.values()), "toy")(*values), strict=True))


def value(expression, inputs=()):
    """The value of one expression."""
    return compute({"": expression}, dict(inputs))[""]


def images(count, x_dim=X_DIM, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (count, x_dim)).astype(float)


def draws(built, count, seed=0):
    """x and the noise of every variable for ``count`` images: CaGeM's x, eps_z1 and eps_z2."""
    rng = np.random.default_rng([seed, 1])
    return (images(count, built.x_dim, seed), *(rng.normal(size=shape) for shape in built.noise_shapes(count)))


def densities_of(terms):
    """A CaGeM's Terms, by the names of what :meth:`Oracle.forward` returns."""
    z1, y, z2 = (terms.latents[name] for name in ("z1", "y", "z2"))
    return {
        "p_x": terms.p_x,
        **{"p_z1": z1.log_p, "p_y": y.log_p, "p_z2": z2.log_p},
        **{"q_z1": z1.log_q, "q_y": y.log_q, "q_z2": z2.log_q},
        "kl_z2": z2.kl,
        **{"mu_z1": z1.mu, "mu_z2": z2.mu, "z1": z1.z, "z2": z2.z},
    }


def fixed_noise(name, shape, kind="normal"):
    """What :class:`FixedStreams` puts into a graph under that name."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return rng.normal(size=shape) if kind == "normal" else rng.uniform(size=shape)


class FixedStreams:
    """In place of NamedStreams: the same noise at every step, known by name."""

    def __init__(self, seed):
        self.states = OrderedDict()

    def normal(self, name, shape):
        return theano.shared(fixed_noise(name, shape).astype(theano.config.floatX))

    def uniform(self, name, shape):
        return theano.shared(fixed_noise(name, shape, "uniform").astype(theano.config.floatX))

    def updates(self):
        return ()


# The forward pass. One row for every pair (image, class), tiled; no sharing between classes, no broadcasting.


def log_normal(x, mu, log_sigma):
    return norm.logpdf(x, mu, np.exp(log_sigma)).sum(axis=-1)


def log_bernoulli(x, logits):
    return (x * -np.logaddexp(0, -logits) + (1 - x) * -np.logaddexp(0, logits)).sum(axis=-1)


class Networks:
    """The networks of every model in NumPy, float64, from a dict of weights by name.

    ``statistics`` is "running", "batch", or a dict from a batch norm's name to its mean and variance; ``seen`` holds
    those that were used last.
    """

    def __init__(self, e, weights):
        self.e = e
        self.w = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
        self.seen = {}

    @classmethod
    def of(cls, built):
        return cls(built.experiment, weights_of(built))

    def normalise(self, name, rows, statistics, row_weights):
        if statistics == "running":
            mean, variance = self.w[f"{name}.running_mean"], self.w[f"{name}.running_variance"]
        elif statistics == "batch":
            mean = np.average(rows, axis=0, weights=row_weights)
            variance = np.average((rows - mean) ** 2, axis=0, weights=row_weights)
        else:
            mean, variance = statistics[name]
        self.seen[name] = (mean, variance)
        normalised = (rows - mean) / np.sqrt(variance + self.e.bn_epsilon)
        return self.w[f"{name}.gamma"] * normalised + self.w[f"{name}.beta"]

    def hidden(self, name, edges, statistics="running", row_weights=None):
        """``edges``: name of the variable that an edge comes from -> rows."""
        row_weights = row_weights if self.e.class_bn == "q" else None
        a = sum(rows @ self.w[f"{name}.edge_{edge}.W"] for edge, rows in edges.items())
        d = np.maximum(0, self.normalise(f"{name}.bn1", a, statistics, row_weights))
        a = d @ self.w[f"{name}.dense2.W"]
        return np.maximum(0, self.normalise(f"{name}.bn2", a, statistics, row_weights))

    def head(self, name, d):
        return d @ self.w[f"{name}.W"] + self.w[f"{name}.b"]


class Oracle(Networks):
    """CaGeM."""

    @property
    def k(self):
        return self.e.clusters

    def one_hot(self, classes):
        rows = np.zeros((len(classes), self.k))
        for row, c in enumerate(classes):
            rows[row, c] = 1
        return rows

    def forward(self, x, eps_1, eps_2, statistics="running"):
        """Every log-density of one sample; names as in :func:`densities_of`, and ``p_y_all``: log p(y'|z2^y)."""
        self.seen = {}
        b, k = len(x), self.k
        d = self.hidden("q_z1", {"x": x}, statistics)
        mu_1, s_1 = self.head("q_z1.mu", d), self.head("q_z1.log_sigma", d)
        z1 = mu_1 + np.exp(s_1) * eps_1
        q_y = log_softmax(self.head("q_y.logits", self.hidden("q_y", {"x": x, "z1": z1}, statistics)), axis=1)
        # Row b * K + c is image b with class c.
        image = [i for i in range(b) for _ in range(k)]
        y = self.one_hot([c for _ in range(b) for c in range(k)])
        share = np.exp(q_y).ravel()
        x_all, z1_all = x[image], z1[image]
        skip = {"x": x_all} if self.e.skip else {}
        d = self.hidden("q_z2", {**skip, "z1": z1_all, "y": y}, statistics, share)
        mu_2, s_2 = self.head("q_z2.mu", d), self.head("q_z2.log_sigma", d)
        z2 = mu_2 + np.exp(s_2) * eps_2
        p_y = self.p_y(z2, statistics, share)
        p_mu, p_s = self.p_z1(y, z2, statistics, share)
        logits = self.p_x(y, z1_all, statistics, share)
        split = lambda rows: rows.reshape(b, k, *rows.shape[1:])  # noqa: E731
        analytic = 0.5 * (np.exp(2 * s_2) + mu_2**2 - 1 - 2 * s_2).sum(axis=1)
        return SimpleNamespace(
            p_x=split(log_bernoulli(x_all, logits)),
            p_z1=split(log_normal(z1_all, p_mu, p_s)),
            p_y=np.array([[split(p_y)[i, c, c] for c in range(k)] for i in range(b)]),
            p_z2=split(log_normal(z2, 0.0, 0.0)),
            q_z1=log_normal(z1, mu_1, s_1),
            q_y=q_y,
            q_z2=split(log_normal(z2, mu_2, s_2)),
            kl_z2=split(analytic),
            mu_z1=mu_1,
            mu_z2=split(mu_2),
            z1=z1,
            z2=split(z2),
            p_y_all=split(p_y),
        )

    def p_y(self, z2, statistics="running", share=None):
        """Log p(y|z2): (rows, K)."""
        return log_softmax(self.head("p_y.logits", self.hidden("p_y", {"z2": z2}, statistics, share)), axis=1)

    def p_z1(self, y, z2, statistics="running", share=None):
        d = self.hidden("p_z1", {"y": y, "z2": z2}, statistics, share)
        return self.head("p_z1.mu", d), self.head("p_z1.log_sigma", d)

    def p_x(self, y, z1, statistics="running", share=None):
        """Logits."""
        return self.head("p_x.logits", self.hidden("p_x", {"z1": z1, "y": y}, statistics, share))


# The paper's formulas, in loops over images and classes.


def bound(t, temperature=1.0, y_temperature=None):
    of_y = temperature if y_temperature is None else y_temperature
    values = []
    for b in range(len(t.q_z1)):
        value = -temperature * t.q_z1[b]
        for c in range(t.q_y.shape[1]):
            z = t.p_z1[b, c] + t.p_z2[b, c] - t.q_z2[b, c]
            y = t.p_y[b, c] - t.q_y[b, c]
            value += np.exp(t.q_y[b, c]) * (t.p_x[b, c] + temperature * z + of_y * y)
        values.append(value)
    return np.array(values)


def log_weight(t, temperature=1.0, y_temperature=None):
    """log sum_y q(y|z1,x) exp(log p(x|y,z1) + T ...) - T log q(z1|x); at T = 1, sum_y p(x,y,z1,z2) / q(z1) q(z2)."""
    of_y = temperature if y_temperature is None else y_temperature
    values = []
    for b in range(len(t.q_z1)):
        total = 0.0
        for c in range(t.q_y.shape[1]):
            log_p = t.p_x[b, c] + temperature * (t.p_z1[b, c] + t.p_z2[b, c]) + of_y * t.p_y[b, c]
            log_q = temperature * (t.q_z1[b] + t.q_z2[b, c]) + (of_y - 1) * t.q_y[b, c]
            total += np.exp(log_p - log_q)
        values.append(np.log(total))
    return np.array(values)


def classifiers(t):
    """log q(y|x), log p(y|x) of one draw."""
    b, k = t.q_y.shape
    p = np.zeros((b, k))
    for i in range(b):
        for y in range(k):
            for c in range(k):
                p[i, y] += np.exp(t.q_y[i, c]) * np.exp(t.p_y_all[i, c, y])
    return t.q_y, np.log(p)
