"""Passes with one class an image, and the estimator that draws it, against ``toy.Oracle``; images generated from y."""

import functools

import numpy as np
import pytest
import theano.tensor as T
import toy
from scipy.special import log_softmax

from parmesan_cagem import objectives
from parmesan_cagem.normalisation import BatchStatistics, RunningStatistics

IMAGES = 6
EXACT = {"rel": 1e-9, "abs": 1e-9}


@pytest.mark.parametrize("changes", [{}, {"skip": False, "clusters": 4, "z2_dim": 1}, {"class_bn": "q"}], ids=str)
def test_every_log_density(changes):
    """With y, every term is that of each image's own class, (B,); one noise of z2 an image."""
    with toy.precision("float64"):
        built = toy.model(**changes)
        x, eps_1, _ = toy.draws(built, IMAGES)
        eps_2 = np.random.default_rng(2).normal(size=(IMAGES, built.experiment.z2_dim))
        oracle, classes = toy.Oracle.of(built), np.arange(IMAGES) % built.classes
        variables = dict(zip((T.matrix() for _ in range(4)), (x, eps_1, eps_2, oracle.one_hot(classes)), strict=True))
        x_in, eps_1_in, eps_2_in, y_in = variables
        terms = built.terms(x_in, [eps_1_in, eps_2_in], RunningStatistics(), y=y_in)
        outputs = {**toy.densities_of(terms), "F": objectives.bound(terms), "w": objectives.log_weight(terms)}
        values = toy.compute(outputs, variables)
    expected = vars(oracle.forward(x, eps_1, eps_2.repeat(built.classes, axis=0)))
    own = {
        name: value if name in ("q_z1", "mu_z1", "z1") else value[range(IMAGES), classes]
        for name, value in expected.items()
    }
    log_p = own["p_x"] + own["p_z1"] + own["p_y"] + own["p_z2"]
    own["F"] = own["w"] = log_p - own["q_z1"] - own["q_y"] - own["q_z2"]
    for name, value in values.items():
        assert value.shape == own[name].shape, name
        assert value == pytest.approx(own[name], **EXACT), name


# The sampled estimator


@functools.cache
def sampled(dtype="float64", **changes):
    """A compiled sampled_log_weight: (model, function of x, eps_z1, eps_z2 and the uniform numbers)."""
    with toy.precision(dtype):
        built = toy.model(**changes)
        variables = [T.matrix(), T.matrix(), T.matrix(), T.vector()]
        x, *noise, uniform = variables
        output = objectives.sampled_log_weight(built, x, noise, uniform, RunningStatistics())
        function = toy.ENGINE.function(variables, [output], "sampled")
    return built, lambda *values: function(*(np.asarray(value, dtype) for value in values))[0]


def log_weights_by_class(built, x, eps_1, eps_2):
    """log p(x,y,z1,z2) - log q(z1|x) - log q(y|z1,x) - log q(z2|x,y,z1): (B, K), with one eps_2 for all classes."""
    t = toy.Oracle.of(built).forward(x, eps_1, np.repeat(eps_2, built.classes, axis=0))
    return t.p_x + t.p_z1 + t.p_y + t.p_z2 - t.q_z1[:, None] - t.q_y - t.q_z2, np.exp(t.q_y)


@pytest.mark.parametrize("changes", [{}, {"skip": False, "clusters": 4}, {"class_bn": "q"}], ids=str)
def test_sampled_log_weight_is_that_of_the_class_chosen_by_the_uniform_number(changes):
    built, function = sampled(**changes)
    x, eps_1, _ = toy.draws(built, 40)
    rng = np.random.default_rng(5)
    eps_2, uniform = rng.normal(size=(40, 2)), rng.uniform(size=40)
    candidates, q_y = log_weights_by_class(built, x, eps_1, eps_2)
    chosen = []
    for b in range(40):
        c, passed = 0, q_y[b, 0]
        while passed < uniform[b]:
            c += 1
            passed += q_y[b, c]
        chosen.append(c)
    assert set(chosen) == set(range(built.classes))
    assert function(x, eps_1, eps_2, uniform) == pytest.approx(candidates[range(40), chosen], **EXACT)


def test_classes_are_chosen_with_probability_q():
    built, function = sampled()
    count = 1000
    x, eps_1, eps_2 = toy.images(1), np.array([[0.3, -0.2]]), np.array([[0.5, 1.0]])
    candidates, q_y = log_weights_by_class(built, x, eps_1, eps_2)
    assert np.diff(np.sort(candidates[0])).min() > 1e-3  # the weight tells the class
    grid = (np.arange(count) + 0.5) / count
    weights = function(*(value.repeat(count, axis=0) for value in (x, eps_1, eps_2)), grid)
    counts = [(np.abs(weights - candidate) < 1e-6).sum() for candidate in candidates[0]]
    assert sum(counts) == count
    assert np.abs(counts - count * q_y[0]).max() <= 1
    assert min(counts) > 20


def test_the_expected_sampled_weight_is_the_marginal_weight():
    """Over y ~ q(y|z1,x), with one noise of z2 for all classes."""
    built, function = sampled()
    x, eps_1, _ = toy.draws(built, IMAGES)
    eps_2 = np.random.default_rng(1).normal(size=(IMAGES, 2))
    oracle = toy.Oracle.of(built).forward(x, eps_1, eps_2.repeat(3, axis=0))
    q_y = np.exp(oracle.q_y)
    middle = q_y.cumsum(axis=1) - q_y / 2  # a uniform number that chooses class c
    weights = np.stack([np.exp(function(x, eps_1, eps_2, middle[:, c])) for c in range(3)], axis=1)
    assert np.log((q_y * weights).sum(axis=1)) == pytest.approx(toy.log_weight(oracle), **EXACT)
    expected_log = (q_y * np.log(weights)).sum(axis=1)
    assert expected_log == pytest.approx(toy.bound(oracle), **EXACT)


def test_rounding_never_chooses_a_class_that_q_excludes():
    """In float32 the cumulative sum may end below a uniform number: one such draw would weigh 1 / q(y) too much."""
    built, function = sampled("float32")
    weights = {p.name: p for p in built.params()}
    weights["q_y.logits.W"].set_value(np.zeros_like(weights["q_y.logits.W"].get_value()))
    x, eps_1, eps_2 = toy.images(2), np.zeros((2, 2)), np.zeros((2, 2))
    uniform = np.array([np.nextafter(np.float32(1), np.float32(0)), 1.0], "float32")  # ndtr of a draw rounds to 1
    rng = np.random.default_rng(0)
    wrong = []
    for _ in range(60):
        logits = np.array([*rng.normal(size=2), -60.0], "float32")
        weights["q_y.logits.b"].set_value(logits)
        candidates, q_y = log_weights_by_class(built, x, eps_1, eps_2)
        given = function(x, eps_1, eps_2, uniform)
        chosen = np.abs(given[:, None] - candidates).argmin(axis=1)
        wrong += [(logits.tolist(), c) for c, q in zip(chosen, q_y[[0, 1], chosen], strict=True) if q < 1e-20]
    assert wrong == []


def test_the_first_class_is_chosen_by_the_smallest_numbers_only():
    built, function = sampled()
    x, eps_1, eps_2 = toy.images(1), np.zeros((1, 2)), np.zeros((1, 2))
    candidates, q_y = log_weights_by_class(built, x, eps_1, eps_2)
    edge = q_y[0, 0]
    below, above = (function(x, eps_1, eps_2, [u])[0] for u in (edge * (1 - 1e-9), edge * (1 + 1e-9)))
    assert (below, above) == pytest.approx((candidates[0, 0], candidates[0, 1]), **EXACT)


# From z2 and y downwards


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_class_logits_are_those_of_p_y(statistics):
    """For any values of z2, as sampling asks for them."""
    with toy.precision("float64"):
        built, z2 = toy.model(), T.matrix()
        rows = np.random.default_rng(3).normal(size=(7, 2))
        used = RunningStatistics() if statistics == "running" else BatchStatistics()
        logits = toy.value(built.class_logits(z2, used), {z2: rows})
    assert logits.shape == (7, 3)
    assert log_softmax(logits, axis=1) == pytest.approx(toy.Oracle.of(built).p_y(rows, statistics), **EXACT)


def test_generated_images_are_those_of_the_given_classes():
    """z2 as it is, z1 = mu + sigma eps of p(z1|y,z2), logits of p(x|y,z1)."""
    with toy.precision("float64"):
        built = toy.model()
        oracle, rng = toy.Oracle.of(built), np.random.default_rng(4)
        y, z2, eps = oracle.one_hot([0, 2, 1, 1, 0]), rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
        variables = {T.matrix(): value for value in (eps, z2, y)}
        eps_in, z2_in, y_in = variables
        logits = toy.value(built.generate([eps_in, z2_in], RunningStatistics(), y_in), variables)
    mu, log_sigma = oracle.p_z1(y, z2)
    assert logits == pytest.approx(oracle.p_x(y, mu + np.exp(log_sigma) * eps), **EXACT)
