"""Importance-weighted bounds of an image: their order, the same however computed, and refused if not finite."""

import functools
import itertools

import numpy as np
import pytest
import toy
from toy_bounds import ESTIMATORS, Recorder

from parmesan_cagem.bounds import importance_bounds

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
@pytest.mark.parametrize(("estimator", "output"), [("marginal", 0), ("marginal", 1), ("marginal", -1), ("sampled", 0)])
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
