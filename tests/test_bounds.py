"""Importance-weighted bounds: streaming arithmetic, order, and convergence to a log p(x) that can be integrated."""

import functools
import itertools

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
import toy
from hypothesis import given, settings
from scipy.integrate import trapezoid
from scipy.special import logsumexp
from scipy.stats import norm

from parmesan_cagem.bounds import TERMS, StreamingBound, blocks, importance_bounds

QUICK = settings(deadline=None, max_examples=50)


# Streaming


def stream(log_weights, ks):
    """``log_weights``: (draws, images)."""
    bound = StreamingBound(log_weights.shape[1], ks)
    for row in log_weights:
        bound.add(row)
    return bound.bounds()


def log_weight_tables(dtype=np.float64):
    return npst.arrays(
        dtype, npst.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(-2000, 2000, width=32)
    )


@QUICK
@given(log_weight_tables(), st.lists(st.integers(1, 13), min_size=1, max_size=4, unique=True))
def test_streaming_bound_is_the_mean_log_mean_exp_of_complete_blocks(table, ks):
    given_bounds = stream(table, ks)
    assert set(given_bounds) == {k for k in ks if k <= len(table)}
    for k, values in given_bounds.items():
        each = [logsumexp(table[i : i + k], axis=0) - np.log(k) for i in range(0, len(table) - k + 1, k)]
        assert values == pytest.approx(np.mean(each, axis=0), rel=1e-12, abs=1e-9)


@QUICK
@given(log_weight_tables(), st.data())
def test_streaming_bound_has_the_same_bits_for_any_grouping_of_images(table, data):
    cut = data.draw(st.integers(0, table.shape[1]))
    whole, parts = stream(table, (1, 3)), [stream(part, (1, 3)) for part in (table[:, :cut], table[:, cut:])]
    for k in whole:
        assert np.array_equal(np.concatenate([part[k] for part in parts]), whole[k])


@QUICK
@given(log_weight_tables(np.float32))
def test_streaming_bound_sums_in_double_precision(table):
    for k, values in stream(table, (1, 2)).items():
        assert values.dtype == np.float64
        assert np.array_equal(values, stream(table.astype(np.float64), (1, 2))[k])


def test_an_incomplete_block_is_left_out():
    table = np.random.default_rng(0).normal(size=(25, 3))
    bounds = stream(table, (10, 30))
    assert set(bounds) == {10}
    assert np.array_equal(bounds[10], stream(table[:20], (10,))[10])
    assert not np.array_equal(bounds[10], stream(table[5:], (10,))[10])


@QUICK
@given(npst.arrays(np.float64, (24, 3), elements=st.floats(-500, 500)))
def test_bounds_of_nested_blocks_are_ordered(table):
    bounds = stream(table, (1, 2, 6, 12, 24))
    for smaller, larger in itertools.pairwise(bounds.values()):
        assert (smaller <= larger + 1e-9).all()


@pytest.mark.parametrize(("total", "size"), [(0, 3), (1, 3), (3, 3), (10, 3), (10, 100)])
def test_blocks_cover_the_range_once(total, size):
    parts = list(blocks(total, size))
    assert [i for part in parts for i in range(total)[part]] == list(range(total))
    assert all(0 < part.stop - part.start <= size for part in parts)


# Against the true log p(x)

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


class Recorder:
    """The engine, and the log weights that it computed."""

    rows_per_call = 5000

    def __init__(self):
        self.log_weights = []

    def function(self, inputs, outputs, name):
        function = toy.ENGINE.function(inputs, outputs, name)

        def call(*values):
            results = function(*values)
            self.log_weights.append(results[0])
            return results

        return call


@functools.cache
def measured(estimator):
    """Bounds of all eight images, and their log weights (images, draws)."""
    built, recorder = small_model(), Recorder()
    e = toy.experiment(iw_samples=K, estimator=estimator, **SMALL)
    result = importance_bounds(built, e, recorder, ALL_X, np.arange(8), rows=400)
    return result, np.concatenate([weights.reshape(8, -1) for weights in recorder.log_weights], axis=1)


ESTIMATORS = ("marginal", "sampled")


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
    assert tuple(result.terms) == TERMS
    t = result.terms
    exact = t["reconstruction"] - t["KL_z1"] - t["KL_y"] - t["KL_z2_sampled"]
    assert exact == pytest.approx(result.bounds["F_1"], rel=1e-5)
    # With the analytic KL of z2 it is equal in expectation.
    assert t["reconstruction"] - t["KL_z1"] - t["KL_y"] - t["KL_z2"] == pytest.approx(result.bounds["F_1"], abs=0.1)
    sampled, _ = measured("sampled")
    assert list(sampled.bounds) == ["F_1", "F_10", f"F_{K}"]
    assert sampled.terms == {}


# Order, image by image


@functools.cache
def ordered(estimator):
    model = toy.model(weights=2)
    e = toy.experiment(iw_samples=1000, estimator=estimator)
    images = toy.images(12).astype(np.uint8)
    return importance_bounds(model, e, toy.ENGINE, images, np.arange(12)).bounds


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bounds_are_ordered_for_every_image(estimator):
    """F_1 <= F_1_marginal <= F_10 <= F_1000: blocks of the same draws, so it holds exactly, not just on average.

    1e-9 is the rounding of double precision, in which the blocks are summed. F_1 <= F_1_marginal compares two
    float32 results of one graph, draw by draw; what lies between them here is far above float32's rounding. (The next
    test has the case in which it is not.)
    """
    bounds = ordered(estimator)
    names = ["F_1", "F_1_marginal", "F_10", "F_1000"] if estimator == "marginal" else ["F_1", "F_10", "F_1000"]
    assert set(bounds) == set(names)
    for smaller, larger in itertools.pairwise(names):
        assert (bounds[smaller] <= bounds[larger] + 1e-9).all(), (smaller, larger)
        assert (bounds[smaller] < bounds[larger] - 1e-4).any(), (smaller, larger)


def test_one_certain_class_makes_f_1_its_own_marginal_up_to_rounding():
    """With q(y|z1,x) and p(y|z2) one-hot, F and the log of the sum over y are one number, rounded twice in float32."""
    model = toy.model(weights=2)
    for param in model.params():
        if param.name in ("q_y.logits.b", "p_y.logits.b"):
            param.set_value(np.array([30, -30, -60], param.dtype))
    e = toy.experiment(iw_samples=20)
    bounds = importance_bounds(model, e, toy.ENGINE, toy.images(12).astype(np.uint8), np.arange(12)).bounds
    assert bounds["F_1"] == pytest.approx(bounds["F_1_marginal"], rel=1e-6)
    assert (bounds["F_1_marginal"] <= bounds["F_10"] + 1e-9).all()


# The same numbers however they are computed


@functools.cache
def bounds_of(estimator, indices=tuple(range(7)), rows=None, k=60, eval_seed=1):
    """``indices``: which of seven images."""
    e = toy.experiment(iw_samples=k, estimator=estimator, eval_seed=eval_seed)
    images = toy.images(7, seed=3).astype(np.uint8)[list(indices)]
    return importance_bounds(toy.model(), e, toy.ENGINE, images, np.array(indices), rows=rows)


def table(result):
    return np.stack([*result.bounds.values(), *result.terms.values()])


@pytest.mark.parametrize("rows", [1, 7, 20, 64, 10_000])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_chunks_do_not_change_the_result(estimator, rows):
    expected, given_bounds = bounds_of(estimator), bounds_of(estimator, rows=rows)
    assert list(given_bounds.bounds) == list(expected.bounds)
    assert table(given_bounds) == pytest.approx(table(expected), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_subset_gives_the_full_sets_numbers(estimator):
    subset = (5, 0, 3)
    expected = table(bounds_of(estimator))[:, list(subset)]
    assert table(bounds_of(estimator, indices=subset)) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_evaluation_seed_chooses_the_noise(estimator):
    one, other = table(bounds_of(estimator)), table(bounds_of(estimator, eval_seed=2))
    assert np.abs(one - other).min(axis=1).max() > 1e-4


@pytest.mark.parametrize("k", [1, 5, 10])
def test_small_k(k):
    bounds = bounds_of("marginal", k=k).bounds
    assert set(bounds) == {"F_1", "F_1_marginal"} | ({f"F_{k}"} if k > 1 else set())


def test_running_averages_are_what_an_evaluation_normalises_by():
    """F_1_marginal of one draw, from the oracle under running statistics with the noise of that image."""
    recorder, given_noise = Recorder(), []
    model, e = toy.model(), toy.experiment(iw_samples=1)

    class Engine:
        rows_per_call = 5000

        def function(self, inputs, outputs, name):
            function = recorder.function(inputs, outputs, name)

            def call(*values):
                given_noise.append(values)
                return function(*values)

            return call

    images = toy.images(4).astype(np.uint8)
    bounds = importance_bounds(model, e, Engine(), images, np.arange(4)).bounds
    ((x, eps_1, eps_2),) = given_noise
    assert np.array_equal(x, images)
    assert len(np.unique(np.concatenate([eps_1.ravel(), eps_2.ravel()]))) == eps_1.size + eps_2.size
    terms = toy.Oracle.of(model).forward(x, eps_1, eps_2, "running")
    assert bounds["F_1_marginal"] == pytest.approx(toy.log_weight(terms), rel=1e-4)
    assert bounds["F_1"] == pytest.approx(toy.bound(terms), rel=1e-4)


def test_an_engine_chooses_the_rows_of_a_call_and_not_the_results():
    sizes = []

    class Engine:
        def __init__(self, rows_per_call):
            self.rows_per_call = rows_per_call

        def function(self, inputs, outputs, name):
            function = toy.ENGINE.function(inputs, outputs, name)

            def call(*values):
                sizes.append(len(values[0]))
                return function(*values)

            return call

    model, e = toy.model(), toy.experiment(iw_samples=60)
    images, places = toy.images(7).astype(np.uint8), np.arange(7)
    small, large = (importance_bounds(model, e, Engine(rows), images, places) for rows in (40, 5000))
    assert min(sizes) <= 40 // e.clusters < 5 * 7 <= max(sizes)
    assert np.allclose(table(small), table(large), rtol=1e-5)


# Not finite


class Broken:
    """An engine whose results are zero, but for one value of one output in one call."""

    rows_per_call = 5000

    def __init__(self, output, row, value):
        self.bad = (output, row, value)

    def function(self, inputs, outputs, name):
        def call(x, *_):
            results = [np.zeros(len(x), "float32") for _ in outputs]
            output, row, value = self.bad
            results[output][row] = value
            return results

        return call


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("estimator", "output"), [("marginal", 0), ("marginal", 1), ("marginal", 1 + len(TERMS)), ("sampled", 0)]
)
def test_a_value_that_is_not_finite_names_its_image(estimator, output, value):
    e = toy.experiment(iw_samples=10, estimator=estimator)
    images, indices = toy.images(4).astype(np.uint8), np.array([40, 17, 65, 23])
    with pytest.raises(FloatingPointError, match=r"\b65\b"):
        importance_bounds(toy.model(), e, Broken(output, 25, value), images, indices, rows=40)


def test_an_overflow_in_the_model_names_its_image():
    model = toy.model()
    weights = {param.name: param for param in model.params()}
    value = weights["q_z1.edge_x.W"].get_value()
    value[2] = 1e38
    weights["q_z1.edge_x.W"].set_value(value)
    images = np.zeros((4, toy.X_DIM), np.uint8)
    images[3, 2] = 1
    e = toy.experiment(iw_samples=2)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"\b13\b"):
        importance_bounds(model, e, toy.ENGINE, images, np.array([10, 11, 12, 13]))
    assert np.isfinite(table(importance_bounds(model, e, toy.ENGINE, images[:3], np.arange(3)))).all()
