"""The bound and its parts against an independent forward pass in NumPy (``toy.Oracle``), with loops for the sums."""

import functools
from dataclasses import fields

import numpy as np
import pytest
import theano.tensor as T
import toy
from scipy.special import log_softmax
from scipy.stats import norm

from parmesan_cagem import objectives
from parmesan_cagem.normalisation import BatchStatistics, GivenStatistics, RunningStatistics

IMAGES = 6
MODELS = {
    "default": {},
    "no skip, tapered": {"skip": False, "widths": "tapered"},
    "K = 4, z2 = 1": {"clusters": 4, "z2_dim": 1},
    "class_bn q": {"class_bn": "q"},
}
STATISTICS = ("running", "batch")
TEMPERATURES = (0.0, 0.3, 1.0)
EXACT = {"rel": 1e-9, "abs": 1e-9}


def inputs(built):
    """Input variables -> values, and a temperature."""
    return {T.matrix(): value for value in toy.draws(built, IMAGES)}


@functools.cache
def both(name):
    """Everything in float64: from Theano and from the oracle, for each kind of statistics."""
    with toy.precision("float64"):
        built = toy.model(**MODELS[name])
        variables, outputs, oracle = inputs(built), {}, toy.Oracle.of(built)
        for kind, statistics in (("running", RunningStatistics()), ("batch", BatchStatistics())):
            terms = objectives.log_terms(built, *variables, statistics)
            outputs.update({(kind, field.name): getattr(terms, field.name) for field in fields(terms)})
            for t in TEMPERATURES:
                outputs[kind, "F", t] = objectives.bound(terms, t)
                outputs[kind, "log_weight", t] = objectives.log_weight(terms, t)
            outputs[kind, "F"], outputs[kind, "log_weight"] = objectives.bound(terms), objectives.log_weight(terms)
            outputs.update({(kind, term): value for term, value in objectives.decomposition(terms).items()})
            log_q, log_p = objectives.class_log_probabilities_of(terms)
            outputs[kind, "of", "q"], outputs[kind, "of", "p"] = log_q, log_p
            for routing in ("paper", "full"):
                own = RunningStatistics() if kind == "running" else BatchStatistics()
                pair = objectives.class_log_probabilities(built, *variables, own, routing)
                outputs[kind, routing, "q"], outputs[kind, routing, "p"] = pair
        values = toy.compute(outputs, variables)
    return values, {kind: oracle.forward(*variables.values(), kind) for kind in STATISTICS}


@pytest.fixture(params=MODELS)
def model_name(request):
    return request.param


@pytest.mark.parametrize("kind", STATISTICS)
def test_every_log_density(model_name, kind):
    values, oracle = both(model_name)
    compared = [name for name in vars(oracle[kind]) if values[kind, name] == pytest.approx(vars(oracle[kind])[name])]
    assert compared == [field.name for field in fields(objectives.LogTerms)]


def test_the_statistics_matter():
    _, oracle = both("default")
    _, weighted = both("class_bn q")
    assert np.abs(oracle["running"].p_x - oracle["batch"].p_x).max() > 0.1
    assert np.abs(weighted["batch"].p_x - oracle["batch"].p_x).max() > 0.01
    assert weighted["running"].p_x == pytest.approx(oracle["running"].p_x)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", STATISTICS)
def test_bound_and_log_weight(model_name, kind, temperature):
    values, oracle = both(model_name)
    assert values[kind, "F", temperature] == pytest.approx(toy.bound(oracle[kind], temperature), **EXACT)
    assert values[kind, "log_weight", temperature] == pytest.approx(toy.log_weight(oracle[kind], temperature), **EXACT)
    assert (values[kind, "F", temperature] <= values[kind, "log_weight", temperature] + 1e-12).all()


@pytest.mark.parametrize("kind", STATISTICS)
def test_no_temperature_is_temperature_one(model_name, kind):
    values, _ = both(model_name)
    for name in ("F", "log_weight"):
        assert np.array_equal(values[kind, name], values[kind, name, 1.0])
        assert np.abs(values[kind, name] - values[kind, name, 0.3]).min() > 1e-3


@pytest.mark.parametrize("kind", STATISTICS)
def test_at_temperature_zero_the_bound_is_the_reconstruction(model_name, kind):
    values, _ = both(model_name)
    assert values[kind, "F", 0.0] == pytest.approx(values[kind, "reconstruction"], **EXACT)


@pytest.mark.parametrize("kind", STATISTICS)
def test_decomposition(model_name, kind):
    values, oracle = both(model_name)
    t = oracle[kind]
    sums = dict.fromkeys(("reconstruction", "KL_z1", "KL_y", "KL_z2", "KL_z2_sampled"), 0.0)
    for c in range(t.q_y.shape[1]):
        share = np.exp(t.q_y[:, c])
        sums["reconstruction"] += share * t.p_x[:, c]
        sums["KL_z1"] += share * (t.q_z1 - t.p_z1[:, c])
        sums["KL_y"] += share * (t.q_y[:, c] - t.p_y[:, c])
        sums["KL_z2"] += share * t.kl_z2[:, c]
        sums["KL_z2_sampled"] += share * (t.q_z2[:, c] - t.p_z2[:, c])
    for name, expected in sums.items():
        assert values[kind, name] == pytest.approx(expected, **EXACT), name
    parts = [values[kind, name] for name in ("reconstruction", "KL_z1", "KL_y", "KL_z2_sampled")]
    assert parts[0] - parts[1] - parts[2] - parts[3] == pytest.approx(values[kind, "F"], rel=1e-12, abs=1e-12)


def test_analytic_kl_z2_is_the_mean_of_the_sampled_one():
    draws = 4000
    with toy.precision("float64"):
        built = toy.model()
        rng = np.random.default_rng(3)
        x, eps_1 = toy.images(2).repeat(draws, axis=0), rng.normal(size=(2, 2)).repeat(draws, axis=0)
        variables = {T.matrix(): x, T.matrix(): eps_1, T.matrix(): rng.normal(size=(2 * draws * 3, 2))}
        terms = objectives.log_terms(built, *variables, RunningStatistics())
        parts = toy.compute(objectives.decomposition(terms), variables)
    analytic, sampled = (parts[name].reshape(2, draws) for name in ("KL_z2", "KL_z2_sampled"))
    assert np.ptp(analytic, axis=1) == pytest.approx(0, abs=1e-9)  # z1 and y are held fixed
    error = sampled.std(axis=1) / np.sqrt(draws)
    assert (np.abs(sampled.mean(axis=1) - analytic[:, 0]) < 4 * error).all()
    assert (error < 0.05 * analytic[:, 0]).all()


def test_float32_agrees():
    values, _ = both("default")
    built = toy.model()
    variables = inputs(built)
    terms = objectives.log_terms(built, *variables, RunningStatistics())
    single = toy.compute({"F": objectives.bound(terms), "log_weight": objectives.log_weight(terms)}, variables)
    for name, value in single.items():
        assert value.dtype == "float32"
        assert value == pytest.approx(values["running", name], rel=1e-4)


# The sampled estimator


@functools.cache
def sampled(dtype="float64", **changes):
    """A compiled sampled_log_weight: (model, function of x, eps_z1, eps_z2 and the uniform numbers)."""
    with toy.precision(dtype):
        built = toy.model(**changes)
        variables = [T.matrix(), T.matrix(), T.matrix(), T.vector()]
        output = objectives.sampled_log_weight(built, *variables, RunningStatistics())
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


# The classifiers


@pytest.mark.parametrize("routing", ["paper", "full", "of"])
@pytest.mark.parametrize("kind", STATISTICS)
def test_classifiers(model_name, kind, routing):
    values, oracle = both(model_name)
    log_q, log_p = toy.classifiers(oracle[kind])
    assert values[kind, routing, "q"] == pytest.approx(log_q, **EXACT)
    assert values[kind, routing, "p"] == pytest.approx(log_p, **EXACT)
    assert np.exp(values[kind, routing, "p"]).sum(axis=1) == pytest.approx(1, **EXACT)
    assert np.abs(log_q - log_p).max() > 0.05


def test_classifiers_under_the_statistics_of_another_pass():
    with toy.precision("float64"):
        built = toy.model()
        unlabelled, labelled = toy.draws(built, 5), toy.draws(built, 4, seed=7)
        variables = {T.matrix(): value for value in (*unlabelled, *labelled)}
        source = BatchStatistics()
        objectives.log_terms(built, *list(variables)[:3], source)
        pair = objectives.class_log_probabilities(built, *list(variables)[3:], GivenStatistics(source))
        values = toy.compute(dict(zip("qp", pair, strict=True)), variables)
    oracle = toy.Oracle.of(built)
    oracle.forward(*unlabelled, "batch")
    log_q, log_p = toy.classifiers(oracle.forward(*labelled, dict(oracle.seen)))
    assert values["q"] == pytest.approx(log_q, **EXACT)
    assert values["p"] == pytest.approx(log_p, **EXACT)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy(dtype):
    rng = np.random.default_rng(0)
    table, y = log_softmax(rng.normal(size=(6, 4)), axis=1).astype(dtype), np.array([0, 3, 1, 1, 2, 0], "int32")
    with toy.precision(dtype):
        log_probabilities, labels = T.matrix(), T.ivector()
        output = objectives.cross_entropy(log_probabilities, labels)
        value = toy.value(output, {log_probabilities: table, labels: y})
    assert value.dtype == dtype
    assert value.tolist() == [-table[row, label] for row, label in enumerate(y)]


def test_cross_entropy_of_an_impossible_other_class_is_finite():
    table = np.array([[0.0, -np.inf]])
    log_probabilities, labels = T.matrix(), T.ivector()
    output = objectives.cross_entropy(log_probabilities, labels)
    assert toy.value(output, {log_probabilities: table, labels: [0]}).tolist() == [0.0]


def test_the_oracles_densities():
    """The oracle itself, against SciPy's words for the same densities."""
    x, logits = np.array([[0.0, 1.0, 1.0]]), np.array([[2.0, -1.0, 0.3]])
    p = 1 / (1 + np.exp(-logits))
    assert toy.log_bernoulli(x, logits) == pytest.approx(np.log(np.where(x == 1, p, 1 - p)).sum())
    assert toy.log_normal(x, logits, logits) == pytest.approx(norm(logits, np.exp(logits)).logpdf(x).sum())
