"""Bounds of all images of three pixels at large k, against a log p(x) that can be integrated."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm
from toy_bounds import Recorder

from parmesan_cagem.bounds import importance_bounds

IMAGES = np.array(list(itertools.product((0, 1), repeat=3)), dtype=np.uint8)
SAMPLES = 5000


def broad(built):
    """Give q(.|x) and p(a|.) mild means, and every q a wider deviation than every p: else weights have no variance.

    The deviations are all but constant: a far draw of one variable must not make that of the next one astronomic.
    """
    for param in built.params():
        value, (network, _, part) = param.get_value(), param.name.partition(".")
        if part == "log_sigma.b":
            param.set_value(np.full_like(value, 0.4 if network.startswith("q_") else -0.3))
        elif part == "log_sigma.W":
            param.set_value(0.1 * value)
        elif part.startswith("mu.") and network != "p_z1":
            param.set_value(0.3 * value)
    return built


def standard(z):
    return norm.pdf(z[:, 0])


def assert_converged(built, e, log_p):
    """Within four standard errors of log mean w, of which every one is small; one sample is far from it."""
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-6)
    assert np.ptp(log_p) > 0.3
    recorder = Recorder()
    found = importance_bounds(built, e, recorder, IMAGES, np.arange(len(IMAGES)), rows=400)
    parts = [weights.reshape(len(IMAGES), -1) for weights in recorder.log_weights]
    w = np.exp(np.concatenate(parts, axis=1, dtype=np.float64))
    assert w.shape == (len(IMAGES), SAMPLES)
    error = w.std(axis=1) / (w.mean(axis=1) * np.sqrt(SAMPLES))
    assert error.max() < 0.05
    assert (np.abs(found.bounds[f"F_{SAMPLES}"] - log_p) < 4 * error).all()
    assert (log_p - found.bounds["F_1"] > 4 * error).all()
