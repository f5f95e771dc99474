"""The mean and the log standard deviation of a product of two Gaussian densities, on both engines' arithmetic."""

import functools

import hypothesis.strategies as st
import numpy as np
import pytest
import theano.tensor as T
import toy
from hypothesis import example, given, settings
from lasagne.layers import InputLayer, get_all_params, get_output
from scipy.stats import norm

from parmesan_cagem.engines.xla.engine import XLA
from parmesan_cagem.layers import MergedLogSigmaLayer, MergedMeanLayer

QUICK = settings(deadline=None, max_examples=100)
ENGINES = {"theano": lambda: toy.ENGINE, "xla": XLA}


def merged(inputs):
    """Mean and log sigma, expressions of mu_1, log_sigma_1, mu_2, log_sigma_2."""
    layers = [InputLayer((None, 1)) for _ in inputs]
    mean, log_sigma = MergedMeanLayer(*layers), MergedLogSigmaLayer(layers[1], layers[3])
    assert mean.output_shape == log_sigma.output_shape == (None, 1)
    assert get_all_params([mean, log_sigma]) == []
    return get_output([mean, log_sigma], dict(zip(layers, inputs, strict=True)))


@functools.cache
def compiled(dtype, engine="theano", gradients=False):
    with toy.precision(dtype):
        inputs = [T.matrix() for _ in range(4)]
        mean, log_sigma = merged(inputs)
        if gradients:
            outputs = [*T.grad(mean.sum(), inputs), *T.grad(log_sigma.sum(), [inputs[1], inputs[3]])]
        else:
            outputs = [mean, log_sigma]
        return ENGINES[engine]().function(inputs, outputs, "merged")


def evaluate(values, dtype, **how):
    columns = [np.array([[v]], dtype) for v in values]
    results = compiled(dtype, **how)(*columns)
    assert {result.dtype for result in results} == {np.dtype(dtype)}
    return [float(result.item()) for result in results]


def precisions(log_sigma_1, log_sigma_2):
    """Up to e^100: float64 holds them, float32 does not."""
    return np.exp(-2.0 * log_sigma_1), np.exp(-2.0 * log_sigma_2)


mus = st.floats(-10, 10, width=32)
log_sigmas = st.floats(-50, 50, width=32)


@QUICK
@given(mus, st.floats(-2, 2), mus, st.floats(-2, 2))
def test_the_product_of_both_densities_is_proportional_to_the_merged_one(mu_1, s_1, mu_2, s_2):
    mean, log_sigma = evaluate([mu_1, s_1, mu_2, s_2], "float64")
    z = mean + np.exp(log_sigma) * np.linspace(-3, 3, 7)
    product = norm.logpdf(z, mu_1, np.exp(s_1)) + norm.logpdf(z, mu_2, np.exp(s_2))
    constant = product - norm.logpdf(z, mean, np.exp(log_sigma))
    assert np.ptp(constant) < 1e-9 * max(1, np.abs(product).max())


@pytest.mark.parametrize(
    ("engine", "dtype", "error"),
    [("theano", "float32", 2e-5), ("theano", "float64", 1e-11), ("xla", "float32", 2e-5)],  # XLA has no float64
)
@QUICK
@given(mus, log_sigmas, mus, log_sigmas)
@example(5.0, 50.0, -5.0, -50.0)
@example(5.0, -50.0, -5.0, 50.0)
@example(5.0, -50.0, -5.0, -50.0)
@example(5.0, 50.0, -5.0, 50.0)
@example(10.0, 5.0, 0.0, -5.0)  # the smaller weight, 2e-9, is the whole mean
@example(0.0, -5.0, 10.0, 5.0)
def test_no_precision_is_lost_for_any_log_sigmas(engine, dtype, error, mu_1, s_1, mu_2, s_2):
    mean, log_sigma = evaluate([mu_1, s_1, mu_2, s_2], dtype, engine=engine)
    one, two = precisions(s_1, s_2)
    assert log_sigma == pytest.approx(-0.5 * np.log(one + two), abs=error)
    # Relative to what is added, down to the 1e-13 where Theano's own sigmoid in Python is cut off.
    size = (abs(mu_1) * one + abs(mu_2) * two) / (one + two)
    assert mean == pytest.approx((mu_1 * one + mu_2 * two) / (one + two), abs=error * size + 1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@QUICK
@given(mus, log_sigmas, mus, log_sigmas)
@example(5.0, 50.0, -5.0, -50.0)
@example(5.0, -50.0, -5.0, 50.0)
@example(1.0, 0.5, 2.0, 0.5)  # equal: a form by minimum and maximum has a kink there
def test_gradients(engine, mu_1, s_1, mu_2, s_2):
    one, two = precisions(s_1, s_2)
    w_1, w_2 = one / (one + two), two / (one + two)
    slope = 2 * w_1 * w_2 * (mu_1 - mu_2)
    expected = [w_1, -slope, w_2, slope, w_1, w_2]
    found = evaluate([mu_1, s_1, mu_2, s_2], "float32", engine=engine, gradients=True)
    assert found == pytest.approx(expected, rel=2e-5, abs=1e-5)
