"""The bound and its parts against an independent forward pass in NumPy (``toy.Oracle``), with loops for the sums."""

import functools

import numpy as np
import pytest
import theano.tensor as T
import toy
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
APART = (0.3, 0.9)  # of z's terms and of y's
EXACT = {"rel": 1e-9, "abs": 1e-9}


def inputs(built):
    """Input variables -> values: x and the noise of both variables."""
    return {T.matrix(): value for value in toy.draws(built, IMAGES)}


def terms_of(built, variables, statistics):
    x, *noise = variables
    return built.terms(x, noise, statistics)


@functools.cache
def both(name):
    """Everything in float64: from Theano and from the oracle, for each kind of statistics."""
    with toy.precision("float64"):
        built = toy.model(**MODELS[name])
        variables, outputs, oracle = inputs(built), {}, toy.Oracle.of(built)
        x, *noise = variables
        for kind, statistics in (("running", RunningStatistics()), ("batch", BatchStatistics())):
            terms = built.terms(x, noise, statistics)
            outputs.update({(kind, density): value for density, value in toy.densities_of(terms).items()})
            for t in TEMPERATURES:
                outputs[kind, "F", t] = objectives.bound(terms, t)
                outputs[kind, "log_weight", t] = objectives.log_weight(terms, t)
            outputs[kind, "F apart"] = objectives.bound(terms, *APART)
            outputs[kind, "log_weight apart"] = objectives.log_weight(terms, *APART)
            outputs[kind, "F"], outputs[kind, "log_weight"] = objectives.bound(terms), objectives.log_weight(terms)
            outputs.update({(kind, term): value for term, value in objectives.decomposition(terms).items()})
            outputs[kind, "mean z1"] = objectives.posterior_mean(terms, "z1")
            outputs[kind, "mean z2"] = objectives.posterior_mean(terms, "z2")
            outputs[kind, "expected_log_p_y"] = objectives.expected_log_p_y(terms)
            outputs.update({(kind, "of", c): log for c, log in terms.classifiers.items()})
            for routing in ("paper", "full"):
                other = toy.model(**MODELS[name], routing=routing)
                own = RunningStatistics() if kind == "running" else BatchStatistics()
                pair = other.class_log_probabilities(x, noise, own)
                outputs[kind, routing, "q"], outputs[kind, routing, "p"] = pair
        values = toy.compute(outputs, variables)
    return values, {kind: oracle.forward(*variables.values(), kind) for kind in STATISTICS}


@pytest.fixture(params=MODELS)
def model_name(request):
    return request.param


@pytest.mark.parametrize("kind", STATISTICS)
def test_every_log_density(model_name, kind):
    values, oracle = both(model_name)
    expected = vars(oracle[kind])
    compared = [name for name in expected if name != "p_y_all"]
    assert {name for which, *rest in values if which == kind for name in rest} >= set(compared)
    assert [name for name in compared if values[kind, name].shape != expected[name].shape] == []
    assert [name for name in compared if values[kind, name] != pytest.approx(expected[name], **EXACT)] == []


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
def test_the_terms_of_y_may_have_a_temperature_of_their_own(model_name, kind):
    values, oracle = both(model_name)
    assert values[kind, "F apart"] == pytest.approx(toy.bound(oracle[kind], *APART), **EXACT)
    assert values[kind, "log_weight apart"] == pytest.approx(toy.log_weight(oracle[kind], *APART), **EXACT)


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
    order = [rest[0] for which, *rest in values if which == kind and len(rest) == 1 and rest[0] in sums]
    assert order == list(objectives.term_names(toy.model(**MODELS[model_name])))
    assert set(order) == set(sums)
    parts = [values[kind, name] for name in ("reconstruction", "KL_z1", "KL_y", "KL_z2_sampled")]
    assert parts[0] - parts[1] - parts[2] - parts[3] == pytest.approx(values[kind, "F"], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("kind", STATISTICS)
def test_means_over_the_classes(model_name, kind):
    values, oracle = both(model_name)
    t = oracle[kind]
    mean, log_p_y = np.zeros_like(t.mu_z2[:, 0]), np.zeros(IMAGES)
    for c in range(t.q_y.shape[1]):
        mean += np.exp(t.q_y[:, c])[:, None] * t.mu_z2[:, c]
        log_p_y += np.exp(t.q_y[:, c]) * t.p_y[:, c]
    assert values[kind, "mean z1"] == pytest.approx(t.mu_z1, **EXACT)
    assert values[kind, "mean z2"] == pytest.approx(mean, **EXACT)
    assert values[kind, "expected_log_p_y"] == pytest.approx(log_p_y, **EXACT)


def test_analytic_kl_z2_is_the_mean_of_the_sampled_one():
    draws = 4000
    with toy.precision("float64"):
        built = toy.model()
        rng = np.random.default_rng(3)
        x, eps_1 = toy.images(2).repeat(draws, axis=0), rng.normal(size=(2, 2)).repeat(draws, axis=0)
        variables = {T.matrix(): x, T.matrix(): eps_1, T.matrix(): rng.normal(size=(2 * draws * 3, 2))}
        terms = terms_of(built, variables, RunningStatistics())
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
    terms = terms_of(built, variables, RunningStatistics())
    single = toy.compute({"F": objectives.bound(terms), "log_weight": objectives.log_weight(terms)}, variables)
    for name, value in single.items():
        assert value.dtype == "float32"
        assert value == pytest.approx(values["running", name], rel=1e-4)


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
        x, eps_1, eps_2, x_l, *noise_l = variables
        built.terms(x, [eps_1, eps_2], source)
        pair = built.class_log_probabilities(x_l, noise_l, GivenStatistics(source))
        values = toy.compute(dict(zip("qp", pair, strict=True)), variables)
    oracle = toy.Oracle.of(built)
    oracle.forward(*unlabelled, "batch")
    log_q, log_p = toy.classifiers(oracle.forward(*labelled, dict(oracle.seen)))
    assert values["q"] == pytest.approx(log_q, **EXACT)
    assert values["p"] == pytest.approx(log_p, **EXACT)


def test_the_oracles_densities():
    """The oracle itself, against SciPy's words for the same densities."""
    x, logits = np.array([[0.0, 1.0, 1.0]]), np.array([[2.0, -1.0, 0.3]])
    p = 1 / (1 + np.exp(-logits))
    assert toy.log_bernoulli(x, logits) == pytest.approx(np.log(np.where(x == 1, p, 1 - p)).sum())
    assert toy.log_normal(x, logits, logits) == pytest.approx(norm(logits, np.exp(logits)).logpdf(x).sum())
