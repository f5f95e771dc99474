"""The VAE's importance-weighted bounds converge to a log p(x) that can be integrated."""

import functools
import itertools

import numpy as np
import pytest
import toy
import toy_vae
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import logsumexp
from scipy.stats import norm
from toy_bounds import Recorder

from parmesan_cagem.bounds import importance_bounds

LAYERS = (1, 2, 3)
SMALL = {"z1_dim": 1, "z2_dim": 1}  # and so z3
ALL_X = np.array(list(itertools.product((0, 1), repeat=3)), dtype=np.uint8)
K = 5000


@functools.cache
def small_model(layers):
    """Every q is as broad as what it stands for (else no weight has a variance)."""
    model = toy_vae.model(x_dim=3, weights=1, layers=layers, **SMALL)
    for param in model.params():
        if param.name.startswith("q_") and param.name.endswith("log_sigma.b"):
            param.set_value(np.full_like(param.get_value(), 0.3))
        elif param.name.startswith("p_") and param.name.endswith("log_sigma.b"):
            param.set_value(np.full_like(param.get_value(), -0.3))
        elif ".mu." in param.name and param.name.startswith("q_"):
            param.set_value(0.3 * param.get_value())
    return model


@functools.cache
def true_log_p(layers):
    """p(x) = int p(zL) ... int p(z1|z2) p(x|z1), over z1 by the rectangle rule, above it by Gauss-Hermite quadrature.

    Above z1 a variable stands at nodes: of p(zL), and of p(zl|zl+1) for every node of zl+1.
    """
    oracle = toy_vae.Oracle.of(small_model(layers))
    nodes, weights = hermegauss(60)
    weights /= np.sqrt(2 * np.pi)
    z1 = np.linspace(-12, 12, 1201)[:, None]
    if layers == 1:
        density = norm.pdf(z1[:, 0])
    else:
        z, share = nodes[:, None], weights
        for level in range(layers - 1, 1, -1):
            mu, log_sigma = oracle.p_z(level, z)  # (nodes, 1)
            z = (mu + np.exp(log_sigma) * nodes).reshape(-1, 1)
            share = (share[:, None] * weights).ravel()
        mu, log_sigma = oracle.p_z(1, z)
        density = share @ norm.pdf(z1[:, 0][None, :], mu, np.exp(log_sigma))  # (z1,)
    logits, step = oracle.p_x(z1), z1[1, 0] - z1[0, 0]
    return np.log([(density * np.exp(toy.log_bernoulli(x, logits))).sum() * step for x in ALL_X])


@functools.cache
def measured(layers):
    """Bounds of all eight images, and their log weights (images, draws)."""
    built, recorder = small_model(layers), Recorder()
    e = toy.experiment(iw_samples=K, **{**toy_vae.SIZES, **SMALL, "layers": layers})
    result = importance_bounds(built, e, recorder, ALL_X, np.arange(8), rows=400)
    return result, np.concatenate([weights.reshape(8, -1) for weights in recorder.log_weights], axis=1)


@pytest.mark.parametrize("layers", LAYERS)
def test_the_integral_is_a_probability(layers):
    p = np.exp(true_log_p(layers))
    assert p.sum() == pytest.approx(1, abs=1e-6)
    assert p.max() > 1.5 * p.min()


@pytest.mark.parametrize("layers", LAYERS)
def test_the_bound_converges_to_log_p(layers):
    """For all eight images, within four standard errors of log mean w at k = 5000, of which every one is small."""
    result, log_weights = measured(layers)
    assert log_weights.shape == (8, K)
    w = np.exp(log_weights.astype(np.float64))
    error = w.std(axis=1) / (w.mean(axis=1) * np.sqrt(K))
    assert error.max() < 0.05
    assert (np.abs(result.bounds[f"F_{K}"] - true_log_p(layers)) < 4 * error).all()
    # ... while one sample is far from it: the test would see a wrong k.
    assert (true_log_p(layers) - result.bounds["F_1"] > 4 * error).all()
    assert result.bounds[f"F_{K}"] == pytest.approx(logsumexp(log_weights, axis=1) - np.log(K), abs=1e-6)


@pytest.mark.parametrize("layers", LAYERS)
def test_more_samples_are_never_looser_and_the_terms_add_up(layers):
    """Exactly, for every image: the blocks of 10 lie in those of 5,000. Without y, F is the mean log weight."""
    result, log_weights = measured(layers)
    bounds, top = result.bounds, f"z{layers}"
    assert (bounds["F_1_marginal"] <= bounds["F_10"]).all()
    assert (bounds["F_10"] <= bounds[f"F_{K}"]).all()
    assert bounds["F_1"] == pytest.approx(log_weights.mean(axis=1), abs=1e-5)
    assert bounds["F_1"] == pytest.approx(bounds["F_1_marginal"], abs=1e-5)
    t = result.terms
    lower = [f"KL_z{level}" for level in range(1, layers)]
    assert set(t) == {"reconstruction", *lower, f"KL_{top}", f"KL_{top}_sampled"}
    exact = t["reconstruction"] - sum(t[name] for name in lower) - t[f"KL_{top}_sampled"]
    assert exact == pytest.approx(bounds["F_1"], abs=1e-5)
