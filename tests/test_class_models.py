"""ADGM, SDGM and M2: the terms, bounds and labelled terms, against an independent forward pass in NumPy."""

import functools

import class_models as oracles
import numpy as np
import pytest
import theano.tensor as T
import toy

from parmesan_cagem import objectives
from parmesan_cagem.normalisation import BatchStatistics, GivenStatistics, RunningStatistics

IMAGES = 5
Y = np.array([2, 0, 1, 1])
EXACT = {"rel": 1e-9, "abs": 1e-9}
CASES = [(name, class_bn) for name in oracles.NAMES for class_bn in ("uniform", "q")]
TEMPERATURES = (0.0, 0.3, 1.0)


def variables_of(x, noise):
    """Input variables -> values: x, then the noise."""
    return {T.matrix(): value for value in (x, *noise)}


def graph(built, statistics):
    """Everything that a model gives for unlabelled images: expressions by name, and their inputs."""
    inputs = variables_of(*oracles.draws(built, IMAGES))
    x, *noise = inputs
    terms = built.terms(x, noise, statistics)
    outputs = oracles.named(terms)
    outputs.update({("F", t): objectives.bound(terms, t) for t in TEMPERATURES})
    outputs["log_weight"] = objectives.log_weight(terms)
    outputs["mean of z1"] = objectives.posterior_mean(terms, "z1")
    outputs["log p(y)"] = objectives.expected_log_p_y(terms)
    outputs.update({("part", name): value for name, value in objectives.decomposition(terms).items()})
    return outputs, inputs


@functools.cache
def both(name, class_bn, kind):
    """Values in float64, from Theano and from the oracle, for one kind of statistics."""
    with toy.precision("float64"):
        built = oracles.model(name, class_bn=class_bn)
        outputs, inputs = graph(built, RunningStatistics() if kind == "running" else BatchStatistics())
        values = toy.compute(outputs, inputs)
    return built, values, oracles.Oracle.of(built).forward(*oracles.draws(built, IMAGES), kind)


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


@pytest.mark.parametrize("kind", ["running", "batch"])
def test_every_log_density(case, kind):
    _, values, t = both(*case, kind)
    given = {name for name in values if isinstance(name, str)} - {"log_weight", "mean of z1", "log p(y)"}
    assert given == set(vars(t))
    for name, expected in vars(t).items():
        assert values[name].shape == expected.shape, name
        assert values[name] == pytest.approx(expected, **EXACT), name


@pytest.mark.parametrize("kind", ["running", "batch"])
def test_bound_and_log_weight(case, kind):
    _, values, t = both(*case, kind)
    for temperature in TEMPERATURES:
        assert values["F", temperature] == pytest.approx(oracles.bound(t, temperature), **EXACT)
    assert values["log_weight"] == pytest.approx(oracles.log_weight(t), **EXACT)
    assert (values["F", 1.0] < values["log_weight"]).all()


def test_decomposition(case):
    built, values, t = both(*case, "running")
    q_y, parts = np.exp(t.log_q_y), {name[1]: value for name, value in values.items() if name[0] == "part"}
    assert {*parts} == {*objectives.term_names(built)}
    assert tuple(objectives.term_names(built))[-3:] == ("KL_z1", "KL_z1_sampled", "KL_y")
    expected = {
        "reconstruction": (q_y * t.p_x).sum(axis=1),
        "KL_z1": (q_y * t.kl_z1).sum(axis=1),
        "KL_z1_sampled": (q_y * (t.log_q_z1 - t.log_p_z1)).sum(axis=1),
        "KL_y": np.log(oracles.K) + (q_y * t.log_q_y).sum(axis=1),
    }
    if case[0] in oracles.WITH_A:
        expected["KL_a"] = t.log_q_a - (q_y * t.log_p_a).sum(axis=1)
    assert {*parts} == {*expected}
    for name, value in expected.items():
        assert parts[name] == pytest.approx(value, **EXACT), name
    total = parts["reconstruction"] - sum(parts[n] for n in parts if n not in ("reconstruction", "KL_z1"))
    assert total == pytest.approx(values["F", 1.0], **EXACT)
    assert values["mean of z1"] == pytest.approx((q_y[:, :, None] * t.mu_z1).sum(axis=1), **EXACT)
    assert values["log p(y)"] == pytest.approx(-np.log(oracles.K))


@pytest.mark.parametrize("name", oracles.NAMES)
def test_float32_agrees(name):
    """... and no constant makes the graph float64."""
    _, exact, _ = both(name, "uniform", "running")
    outputs, inputs = graph(oracles.model(name), RunningStatistics())
    for key, value in toy.compute(outputs, inputs).items():
        assert value.dtype == "float32", key
        assert value == pytest.approx(exact[key], rel=1e-3, abs=1e-4), key


# Labels


STATISTICS = ("running", "own", "unlabelled")


def statistics_of(kind, built, inputs):
    """Statistics for a labelled pass, after an unlabelled one over ``inputs``."""
    if kind != "unlabelled":
        return RunningStatistics() if kind == "running" else BatchStatistics()
    source = BatchStatistics()
    x, *noise = inputs
    built.terms(x, noise, source)
    return GivenStatistics(source)


def labelled_of(oracle, unlabelled, drawn, kind):
    """The oracle's labelled terms, by name: (L,) each."""
    if kind == "unlabelled":
        oracle.forward(*unlabelled, "batch")
    used = {"running": "running", "own": "batch", "unlabelled": dict(oracle.seen)}[kind]
    t = oracle.forward(*drawn, used, y=Y)
    return {"F_labelled": oracles.labelled(t), "H_q": -t.log_q_y}


@functools.cache
def labelled(name, kind, class_bn):
    """(model, unlabelled and labelled draws, {name: value, (name, parameter): gradient of its mean or None})."""
    with toy.precision("float64"):
        built = oracles.model(name, class_bn=class_bn)
        unlabelled, drawn = oracles.draws(built, IMAGES), oracles.draws(built, len(Y), seed=7, given=True)
        inputs, inputs_l, y = variables_of(*unlabelled), variables_of(*drawn), T.ivector()
        x, *noise = inputs_l
        given = dict(built.labelled(x, y, noise, statistics_of(kind, built, inputs)))
        outputs, params = dict(given), built.params(trainable=True)
        for term, value in given.items():
            how = {"disconnected_inputs": "ignore", "return_disconnected": "None"}
            for param, gradient in zip(params, T.grad(T.mean(value), params, **how), strict=True):
                outputs[term, param.name] = gradient
        computed = {key: value for key, value in outputs.items() if value is not None}
        values = toy.compute(computed, {**inputs, **inputs_l, y: Y})
    return built, unlabelled, drawn, {**dict.fromkeys(outputs), **values}


@pytest.mark.parametrize(
    ("name", "kind", "class_bn"),
    [*((n, kind, "uniform") for n in oracles.NAMES for kind in STATISTICS), ("adgm", "unlabelled", "q")],
)
def test_labelled_terms(name, kind, class_bn):
    built, unlabelled, drawn, values = labelled(name, kind, class_bn)
    expected = labelled_of(oracles.Oracle.of(built), unlabelled, drawn, kind)
    assert {term for term in values if isinstance(term, str)} == {*expected} == {"F_labelled", "H_q"}
    for term, value in expected.items():
        assert values[term].shape == (len(Y),)
        assert values[term] == pytest.approx(value, **EXACT), term


def test_the_labelled_bound_is_the_bound_of_the_labels_class():
    """With one class certain, U(x) = L(x, y): the oracle's two formulas agree where q(y|.) leaves no other."""
    built, _, (x, noise), values = labelled("adgm", "running", "uniform")
    weights = toy.weights_of(built)
    for b, c in enumerate(Y):
        weights["q_y.logits.b"] = np.where(np.arange(oracles.K) == c, 0.0, -1e4)
        oracle = oracles.Oracle(built.experiment, weights)
        row = [noise[0][[b]], noise[1][[b]].repeat(oracles.K, axis=0)]
        assert oracles.bound(oracle.forward(x[[b]], row))[0] == pytest.approx(values["F_labelled"][b], rel=1e-6)


@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize("name", oracles.NAMES)
def test_no_gradient_is_stopped(name, kind):
    """The cross-entropy reaches all of q(y|.) and of q(a|x); the labelled bound all but q(y|.)."""
    built, _, _, values = labelled(name, kind, "uniform")
    reached = {
        term: {
            p.name
            for p in built.params(trainable=True)
            if values[term, p.name] is not None and values[term, p.name].any()
        }
        for term in ("H_q", "F_labelled")
    }
    of = {p.name: p.name.split(".")[0] for p in built.params(trainable=True)}
    assert reached["H_q"] == {p for p, network in of.items() if network in ("q_a", "q_y")}
    assert reached["F_labelled"] == {p for p, network in of.items() if network != "q_y"}


@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize("name", oracles.NAMES)
def test_gradients_of_the_labelled_terms_equal_finite_differences(name, kind):
    built, unlabelled, drawn, values = labelled(name, kind, "uniform")
    weights = toy.weights_of(built)
    held = oracles.Oracle.of(built)
    held.forward(*unlabelled, "batch")
    used = {"running": "running", "own": "batch", "unlabelled": dict(held.seen)}[kind]  # no gradient through those

    def means(parameter, place, step):
        moved = weights[parameter].copy()
        moved[place] += step
        t = oracles.Oracle(built.experiment, {**weights, parameter: moved}).forward(*drawn, used, y=Y)
        return np.array([oracles.labelled(t).mean(), -t.log_q_y.mean()])

    for parameter in (p.name for p in built.params(trainable=True)):
        for place in list(np.ndindex(weights[parameter].shape))[:2]:
            slopes = (means(parameter, place, 1e-6) - means(parameter, place, -1e-6)) / 2e-6
            for term, slope in zip(("F_labelled", "H_q"), slopes, strict=True):
                gradient = values[term, parameter]
                found = 0.0 if gradient is None else gradient[place]
                assert found == pytest.approx(slope, rel=1e-4, abs=1e-7), (term, parameter, place)


# The sampled estimator


@pytest.mark.parametrize("name", oracles.NAMES)
def test_sampled_log_weight_is_that_of_the_class_chosen_by_the_uniform_number(name):
    count = 40
    with toy.precision("float64"):
        built = oracles.model(name)
        x, noise = oracles.draws(built, count, given=True)
        uniform = np.random.default_rng(5).uniform(size=count)
        inputs, u = variables_of(x, noise), T.vector()
        x_in, *eps = inputs
        output = objectives.sampled_log_weight(built, x_in, eps, u, RunningStatistics())
        found = toy.value(output, {**inputs, u: uniform})
    oracle = oracles.Oracle.of(built)
    q_y = np.exp(oracle.forward(x, noise, y=[0] * count).classifier_q)
    chosen = [int(np.searchsorted(np.cumsum(q), level)) for q, level in zip(q_y, uniform, strict=True)]
    assert set(chosen) == set(range(oracles.K))
    t = oracle.forward(x, noise, y=chosen)
    assert found == pytest.approx(oracles.labelled(t) - t.log_q_y, **EXACT)


# Generation


@pytest.mark.parametrize("name", oracles.NAMES)
def test_generate(name):
    with toy.precision("float64"):
        built = oracles.model(name)
        _, noise = oracles.draws(built, 4, given=True)
        eps, y = [T.matrix() for _ in noise], T.matrix()
        classes = np.eye(oracles.K)[Y]
        found = toy.value(
            built.generate(eps, RunningStatistics(), y), {**dict(zip(eps, noise, strict=True)), y: classes}
        )
    oracle, z = oracles.Oracle.of(built), noise[-1]
    a = None
    if name == "sdgm":
        mu, log_sigma = oracle.p_a(classes, z, None)
        a = mu + np.exp(log_sigma) * noise[0]
    assert found == pytest.approx(oracle.p_x(classes, z, a=a), **EXACT)
    assert built.class_logits(T.matrix(), RunningStatistics()) is None
