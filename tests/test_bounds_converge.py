"""Importance-weighted bounds converge to a log p(x) that can be integrated."""

import functools
import itertools

import numpy as np
import pytest
import toy
from scipy.integrate import trapezoid
from scipy.special import logsumexp
from scipy.stats import norm
from toy_bounds import ESTIMATORS, Recorder

from parmesan_cagem.bounds import importance_bounds

SMALL = {"z1_dim": 1, "z2_dim": 1, "clusters": 2}


ALL_X = np.array(list(itertools.product((0, 1), repeat=3)), dtype=np.uint8)


K = 5000


@functools.cache
def small_model():
    """Its weights, with q(z1|x) and q(z2|x,y,z1) as broad as what they stand for (else no weight has a variance)."""
    model = toy.model(x_dim=3, weights=1, **SMALL)
    for param in model.params():
        if param.name in ("q_z1.log_sigma.b", "q_z2.log_sigma.b"):
            param.set_value(np.full_like(param.get_value(), 0.4))
        elif param.name == "p_z1.log_sigma.b":
            param.set_value(np.full_like(param.get_value(), -0.3))
        elif param.name.startswith(("q_z1.mu", "q_z2.mu")):
            param.set_value(0.3 * param.get_value())
    return model


@functools.cache
def true_log_p():
    """p(x) = sum_y int p(z2) p(y|z2) int p(z1|y,z2) p(x|y,z1), by the trapezoidal rule."""
    oracle = toy.Oracle.of(small_model())
    z2, z1 = np.linspace(-8, 8, 801)[:, None], np.linspace(-15, 15, 1501)[:, None]
    p = np.zeros(len(ALL_X))
    for c in range(2):
        mu, log_sigma = oracle.p_z1(oracle.one_hot([c] * len(z2)), z2)
        p_y_z2 = norm.pdf(z2[:, 0]) * np.exp(oracle.p_y(z2)[:, c])  # (z2,)
        p_z1 = norm.pdf(z1[:, 0][None, :], mu, np.exp(log_sigma))  # (z2, z1)
        joint = trapezoid(p_y_z2[:, None] * p_z1, z2[:, 0], axis=0)  # (z1,)
        logits = oracle.p_x(oracle.one_hot([c] * len(z1)), z1)
        for i, x in enumerate(ALL_X):
            p[i] += trapezoid(joint * np.exp(toy.log_bernoulli(x, logits)), z1[:, 0])
    return np.log(p)


@functools.cache
def measured(estimator):
    """Bounds of all eight images, and their log weights (images, draws)."""
    built, recorder = small_model(), Recorder()
    e = toy.experiment(iw_samples=K, estimator=estimator, **SMALL)
    result = importance_bounds(built, e, recorder, ALL_X, np.arange(8), rows=400)
    return result, np.concatenate([weights.reshape(8, -1) for weights in recorder.log_weights], axis=1)


def test_the_integral_is_a_probability():
    p = np.exp(true_log_p())
    assert p.sum() == pytest.approx(1, abs=1e-6)
    assert p.max() > 2 * p.min()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_bound_converges_to_log_p(estimator):
    """For all eight images, within four standard errors of log mean w at k = 5000, of which every one is small."""
    result, log_weights = measured(estimator)
    assert log_weights.shape == (8, K)
    w = np.exp(log_weights.astype(np.float64))
    error = w.std(axis=1) / (w.mean(axis=1) * np.sqrt(K))
    assert error.max() < 0.05
    assert (np.abs(result.bounds[f"F_{K}"] - true_log_p()) < 4 * error).all()
    # ... while one sample is far from it: the test would see a wrong k.
    assert (true_log_p() - result.bounds["F_1"] > 4 * error).all()
    assert result.bounds[f"F_{K}"] == pytest.approx(logsumexp(log_weights, axis=1) - np.log(K), abs=1e-6)


def test_the_marginal_estimator_is_the_tighter_one():
    marginal, sampled = (measured(estimator)[0].bounds for estimator in ESTIMATORS)
    assert marginal["F_1_marginal"].mean() > sampled["F_1"].mean()
    spread = [measured(estimator)[1].std(axis=1).mean() for estimator in ESTIMATORS]
    assert spread[0] < spread[1]


def test_the_sampled_weights_estimate_f():
    """E over z1, y, z2 of the sampled log weight is F, which the marginal estimator sums over y."""
    marginal, sampled = (measured(estimator)[0].bounds["F_1"] for estimator in ESTIMATORS)
    error = np.hypot(*(measured(estimator)[1].std(axis=1) for estimator in ESTIMATORS)) / np.sqrt(K)
    assert (np.abs(marginal - sampled) < 4 * error).all()


def test_names_and_decomposition():
    result, _ = measured("marginal")
    assert list(result.bounds) == ["F_1", "F_1_marginal", "F_10", f"F_{K}"]
    assert list(result.terms) == ["reconstruction", "KL_z1", "KL_z2", "KL_z2_sampled", "KL_y"]
    t = result.terms
    exact = t["reconstruction"] - t["KL_z1"] - t["KL_y"] - t["KL_z2_sampled"]
    assert exact == pytest.approx(result.bounds["F_1"], rel=1e-5)
    # With the analytic KL of z2 it is equal in expectation.
    assert t["reconstruction"] - t["KL_z1"] - t["KL_y"] - t["KL_z2"] == pytest.approx(result.bounds["F_1"], abs=0.1)
    sampled, _ = measured("sampled")
    assert list(sampled.bounds) == ["F_1", "F_10", f"F_{K}"]
    assert sampled.terms == {}
