"""Log-densities against SciPy."""

import functools

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
import theano
import theano.tensor as T
import toy
from hypothesis import given, settings
from scipy import integrate, special, stats
from theano.graph.basic import ancestors

from parmesan_cagem import densities

QUICK = settings(deadline=None, max_examples=40)
SHAPES = npst.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=4)


def arrays(low, high, count):
    """That many float32 arrays of one shape (rows, D)."""
    elements = st.floats(low, high, width=32)
    return SHAPES.flatmap(lambda shape: st.tuples(*[npst.arrays(np.float32, shape, elements=elements)] * count))


@functools.cache
def compiled(name, inputs, ndim=2, dtype="float32", **fixed):
    with toy.precision(dtype):
        variables = [T.TensorType(dtype, [False] * ndim)() for _ in range(inputs)]
        output = getattr(densities, name)(*variables, **fixed)
        return toy.ENGINE.function(variables, [output], name)


def evaluate(name, *values, **fixed):
    (result,) = compiled(name, len(values), values[0].ndim, str(values[0].dtype), **fixed)(*values)
    return result


def as64(*values):
    return [value.astype(np.float64) for value in values]


@QUICK
@given(arrays(-3, 3, 3))
def test_log_normal(values):
    x, mu, log_sigma = as64(*values)
    expected = stats.norm.logpdf(x, mu, np.exp(log_sigma)).sum(axis=1)
    assert evaluate("log_normal", *values) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert evaluate("log_normal", x, mu, log_sigma) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@QUICK
@given(arrays(-10, 10, 1))
def test_log_standard_normal(values):
    expected = stats.norm.logpdf(*as64(*values)).sum(axis=1)
    assert evaluate("log_standard_normal", *values) == pytest.approx(expected, rel=1e-5)
    assert evaluate("log_standard_normal", *as64(*values)) == pytest.approx(expected, rel=1e-12)


@QUICK
@given(arrays(-12, 12, 2))
def test_log_bernoulli(values):
    x, logits = np.array(values[0] > 0, dtype=np.float32), values[1]
    expected = stats.bernoulli.logpmf(x.astype(int), special.expit(*as64(logits))).sum(axis=1)
    assert evaluate("log_bernoulli", x, logits) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert evaluate("log_bernoulli", *as64(x, logits)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("x", "logit", "expected"), [(1, 100, 0), (0, 100, -100), (1, -100, -100), (0, -100, 0)])
def test_log_bernoulli_never_rounds_a_probability_to_0_or_1(x, logit, expected):
    value = evaluate("log_bernoulli", np.full((2, 3), x, "float32"), np.full((2, 3), logit, "float32"))
    assert value == pytest.approx([3 * expected] * 2, abs=1e-6)


@QUICK
@given(arrays(-100, 100, 1))
def test_log_softmax(values):
    expected = special.log_softmax(*as64(*values), axis=-1)
    single = evaluate("log_softmax", *values)
    assert np.isfinite(single).all()
    assert single == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert evaluate("log_softmax", *as64(*values)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
@QUICK
@given(values=arrays(-100, 100, 1))
def test_log_sum_exp_and_log_mean_exp(axis, values):
    exact = as64(*values)
    expected = special.logsumexp(exact[0], axis=axis)
    assert evaluate("log_sum_exp", *values, axis=axis) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert evaluate("log_sum_exp", *exact, axis=axis) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    expected = expected - np.log(exact[0].shape[axis])
    assert evaluate("log_mean_exp", *values, axis=axis) == pytest.approx(expected, rel=1e-5, abs=2e-5)
    assert evaluate("log_mean_exp", *exact, axis=axis) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    "parameters", [(0.0, 0.0, 0.0, 0.0), (1.5, 0.0, 0.0, 0.0), (0.3, -1.0, -0.5, 0.4), (-1.0, 0.7, 2.0, -0.3)]
)
def test_kl_normal_is_the_integral(parameters):
    mu, log_sigma, mu_0, log_sigma_0 = parameters
    p, q = stats.norm(mu, np.exp(log_sigma)), stats.norm(mu_0, np.exp(log_sigma_0))
    reach = 12 * np.exp(log_sigma)
    expected, _ = integrate.quad(lambda z: p.pdf(z) * (p.logpdf(z) - q.logpdf(z)), mu - reach, mu + reach)
    value = evaluate("kl_normal", *(np.full((1, 2), parameter) for parameter in parameters))
    assert value == pytest.approx([2 * expected], abs=1e-7)


@QUICK
@given(arrays(-3, 3, 4))
def test_kl_normal_is_never_negative_and_zero_between_equals(values):
    assert (evaluate("kl_normal", *as64(*values)) >= -1e-12).all()
    assert evaluate("kl_normal", *values[:2], *values[:2]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "inputs", "fixed", "shape"),
    [
        ("log_normal", 3, {}, (2, 3)),
        ("log_standard_normal", 1, {}, (2, 3)),
        ("log_bernoulli", 2, {}, (2, 3)),
        ("log_softmax", 1, {}, (2, 3, 4)),
        ("log_sum_exp", 1, {"axis": 1}, (2, 4)),
        ("log_mean_exp", 1, {"axis": 0}, (3, 4)),
        ("kl_normal", 4, {}, (2, 3)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_precision(name, inputs, fixed, shape, dtype):
    values = np.random.default_rng(0).normal(size=(inputs, 2, 3, 4)).astype(dtype)
    result = evaluate(name, *values, **fixed)
    assert result.shape == shape
    assert result.dtype == dtype  # a constant of the other precision would show


def test_the_class_axis_is_the_last_one():
    """(B, K, D), where the last axis is not the second one."""
    a, b, c, d = np.random.default_rng(1).normal(size=(4, 2, 3, 5))
    x = (a > 0).astype(float)
    kl = d - b + (np.exp(2 * b) + (a - c) ** 2) / (2 * np.exp(2 * d)) - 0.5
    expected = [
        ("log_normal", (a, b, c), stats.norm.logpdf(a, b, np.exp(c)).sum(axis=2)),
        ("log_standard_normal", (a,), stats.norm.logpdf(a).sum(axis=2)),
        ("log_bernoulli", (x, b), stats.bernoulli.logpmf(x.astype(int), special.expit(b)).sum(axis=2)),
        ("log_softmax", (a,), special.log_softmax(a, axis=2)),
        ("kl_normal", (a, b, c, d), kl.sum(axis=2)),
    ]
    for name, values, value in expected:
        assert evaluate(name, *values) == pytest.approx(value, rel=1e-12), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_terms_broadcast_over_the_class_axis(dtype):
    with toy.precision(dtype):
        z1, mu = T.matrix(), T.tensor3()
        value = densities.log_normal(z1.dimshuffle(0, "x", 1), mu, T.zeros_like(mu))
        rng = np.random.default_rng(0)
        given_z1, given_mu = rng.normal(size=(2, 4)).astype(dtype), rng.normal(size=(2, 3, 4)).astype(dtype)
        result = toy.value(value, {z1: given_z1, mu: given_mu})
    for b in range(2):
        for c in range(3):
            assert result[b, c] == pytest.approx(stats.norm.logpdf(given_z1[b], given_mu[b, c]).sum(), rel=1e-5)


@pytest.mark.parametrize("name", ["log_softmax", "log_sum_exp"])
def test_no_gradient_goes_through_the_maximum(name):
    """It would cost comparisons or scattered increments, for a gradient that is zero."""
    logits, direction = T.matrix(), T.matrix()
    output = densities.log_softmax(logits) if name == "log_softmax" else densities.log_sum_exp(logits, 1)
    objective = T.sum(direction * output) if name == "log_softmax" else T.sum(direction[:, 0] * output)
    gradient = T.grad(objective, logits)
    operations = [variable.owner.op for variable in ancestors([gradient]) if variable.owner]
    assert operations
    names = [str(operation) for operation in operations]
    assert not [text for text in names if "IncSubtensor" in text or "{eq" in text]
    rng = np.random.default_rng(0)
    a, r = rng.normal(size=(2, 3, 4)).astype(theano.config.floatX)
    p = special.softmax(a, axis=1)
    expected = r - p * r.sum(axis=1, keepdims=True) if name == "log_softmax" else r[:, :1] * p
    assert toy.value(gradient, {logits: a, direction: r}) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy(dtype):
    rng = np.random.default_rng(0)
    table, y = special.log_softmax(rng.normal(size=(6, 4)), axis=1).astype(dtype), np.array([0, 3, 1, 1, 2, 0], "int32")
    with toy.precision(dtype):
        log_probabilities, labels = T.matrix(), T.ivector()
        output = densities.cross_entropy(log_probabilities, labels)
        value = toy.value(output, {log_probabilities: table, labels: y})
    assert value.dtype == dtype
    assert value.tolist() == [-table[row, label] for row, label in enumerate(y)]


def test_cross_entropy_of_an_impossible_other_class_is_finite():
    table = np.array([[0.0, -np.inf]])
    log_probabilities, labels = T.matrix(), T.ivector()
    output = densities.cross_entropy(log_probabilities, labels)
    assert toy.value(output, {log_probabilities: table, labels: [0]}).tolist() == [0.0]
