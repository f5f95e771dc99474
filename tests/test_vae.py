"""The VAE with L layers: its terms, bounds and gradients against an independent forward pass (``toy_vae``)."""

import functools

import numpy as np
import pytest
import theano.tensor as T
import toy
import toy_vae
from toy_step import slopes, trained

from parmesan_cagem import objectives
from parmesan_cagem.normalisation import BatchStatistics, RunningStatistics

IMAGES = 6
LAYERS = (1, 2, 3)
STATISTICS = ("running", "batch")
TEMPERATURES = (0.0, 0.3, 1.0)
EXACT = {"rel": 1e-9, "abs": 1e-9}


def inputs(built):
    """Input variables -> values: x and the noise of every variable."""
    return {T.matrix(): value for value in toy.draws(built, IMAGES)}


@functools.cache
def both(layers):
    """Everything in float64: from Theano and from the oracle, for each kind of statistics."""
    with toy.precision("float64"):
        built = toy_vae.model(layers=layers)
        variables, outputs, oracle = inputs(built), {}, toy_vae.Oracle.of(built)
        x, *noise = variables
        for kind, statistics in (("running", RunningStatistics()), ("batch", BatchStatistics())):
            terms = built.terms(x, noise, statistics)
            assert list(terms.latents) == [v.name for v in built.variables]
            assert terms.classifiers == {}
            outputs[kind, "p_x"] = terms.p_x
            for name, v in terms.latents.items():
                found = {
                    "p": v.log_p,
                    "q": v.log_q,
                    "mu": v.mu,
                    "z": v.z,
                    "mean": objectives.posterior_mean(terms, name),
                }
                outputs.update({(kind, what, name): value for what, value in found.items()})
                assert (v.kl is None) == (name != f"z{layers}")
            outputs[kind, "kl"] = terms.latents[f"z{layers}"].kl
            for t in TEMPERATURES:
                outputs[kind, "F", t] = objectives.bound(terms, t)
                outputs[kind, "log_weight", t] = objectives.log_weight(terms, t)
            outputs[kind, "F"], outputs[kind, "log_weight"] = objectives.bound(terms), objectives.log_weight(terms)
            parts = objectives.decomposition(terms)
            assert tuple(parts) == objectives.term_names(built)
            outputs.update({(kind, "part", name): value for name, value in parts.items()})
        values = toy.compute(outputs, variables)
    return values, {kind: oracle.forward(*variables.values(), statistics=kind) for kind in STATISTICS}


@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize("layers", LAYERS)
def test_every_log_density(layers, kind):
    values, oracle = both(layers)
    t = oracle[kind]
    assert values[kind, "p_x"] == pytest.approx(t.p_x, **EXACT)
    assert values[kind, "kl"] == pytest.approx(t.kl, **EXACT)
    for i in range(layers):
        for what in ("p", "q", "mu", "z"):
            expected = getattr(t, what)[i]
            assert values[kind, what, f"z{i + 1}"].shape == expected.shape
            assert values[kind, what, f"z{i + 1}"] == pytest.approx(expected, **EXACT), (what, i + 1)
        assert values[kind, "mean", f"z{i + 1}"] == pytest.approx(t.mu[i], **EXACT)


def test_the_statistics_matter():
    _, oracle = both(2)
    assert np.abs(oracle["running"].p_x - oracle["batch"].p_x).max() > 0.1


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize("layers", LAYERS)
def test_bound_and_log_weight(layers, kind, temperature):
    values, oracle = both(layers)
    expected = toy_vae.bound(oracle[kind], temperature)
    for name in ("F", "log_weight"):
        assert values[kind, name, temperature] == pytest.approx(expected, **EXACT)
        if temperature == 1:
            assert np.array_equal(values[kind, name], values[kind, name, 1.0])
        else:
            assert np.abs(values[kind, name] - values[kind, name, temperature]).min() > 1e-3


@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize("layers", LAYERS)
def test_decomposition(layers, kind):
    values, oracle = both(layers)
    t, top = oracle[kind], f"z{layers}"
    parts = {key[2]: value for key, value in values.items() if key[:2] == (kind, "part")}
    expected = {"reconstruction": t.p_x, f"KL_{top}": t.kl, f"KL_{top}_sampled": t.q[-1] - t.p[-1]}
    expected.update({f"KL_z{i + 1}": t.q[i] - t.p[i] for i in range(layers - 1)})
    assert set(parts) == set(expected)
    for name, value in expected.items():
        assert parts[name] == pytest.approx(value, **EXACT), name
    sampled = [f"KL_z{i}" for i in range(1, layers)] + [f"KL_{top}_sampled"]
    assert parts["reconstruction"] - sum(parts[name] for name in sampled) == pytest.approx(values[kind, "F"], **EXACT)
    assert values[kind, "F", 0.0] == pytest.approx(parts["reconstruction"], **EXACT)


def test_the_analytic_kl_is_the_mean_of_the_sampled_one():
    draws = 4000
    with toy.precision("float64"):
        built = toy_vae.model(layers=2)
        rng = np.random.default_rng(3)
        x, eps_1 = toy.images(2).repeat(draws, axis=0), rng.normal(size=(2, 3)).repeat(draws, axis=0)
        variables = {T.matrix(): value for value in (x, eps_1, rng.normal(size=(2 * draws, 4)))}
        x_in, *noise = variables
        parts = toy.compute(objectives.decomposition(built.terms(x_in, noise, RunningStatistics())), variables)
    analytic, sampled = (parts[name].reshape(2, draws) for name in ("KL_z2", "KL_z2_sampled"))
    assert np.ptp(analytic, axis=1) == pytest.approx(0, abs=1e-9)  # z1 is held fixed
    error = sampled.std(axis=1) / np.sqrt(draws)
    assert (np.abs(sampled.mean(axis=1) - analytic[:, 0]) < 4 * error).all()
    assert (error < 0.05 * analytic[:, 0]).all()


@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize("layers", [1, 3])
def test_gradients_of_the_bound_equal_finite_differences(layers, kind):
    """In float64, of the mean of F at T = 0.6, for entries of every trained weight of every network."""
    with toy.precision("float64"):
        built = toy_vae.model(layers=layers)
        variables = inputs(built)
        x, *noise = variables
        statistics = RunningStatistics() if kind == "running" else BatchStatistics()
        objective = T.mean(objectives.bound(built.terms(x, noise, statistics), 0.6))
        gradients = T.grad(objective, built.params(trainable=True))
        values = toy.compute(dict(zip(trained(built), gradients, strict=True)), variables)

    def mean_bound(weights):
        oracle = toy_vae.Oracle(built.experiment, weights)
        return {"F": toy_vae.bound(oracle.forward(*variables.values(), statistics=kind), 0.6).mean()}

    moved = set()
    for name, gradient in values.items():
        for place, slope in slopes(mean_bound, toy.weights_of(built), name, entries=3).items():
            assert gradient[place] == pytest.approx(slope["F"], rel=1e-5, abs=1e-7), (name, place)
            moved |= {name.split(".")[0]} if abs(slope["F"]) > 1e-4 else set()
    assert moved == {name.split(".")[0] for name in values}


def test_float32_agrees():
    values, _ = both(2)
    built = toy_vae.model(layers=2)
    variables = inputs(built)
    x, *noise = variables
    terms = built.terms(x, noise, RunningStatistics())
    single = toy.compute({"F": objectives.bound(terms), "log_weight": objectives.log_weight(terms)}, variables)
    for name, value in single.items():
        assert value.dtype == "float32"
        assert value == pytest.approx(values["running", name], rel=1e-4)


@pytest.mark.parametrize("layers", LAYERS)
def test_generated_images(layers):
    """From the top variable, as it is, down to the logits of p(x|z1), each drawn given the one above it."""
    with toy.precision("float64"):
        built = toy_vae.model(layers=layers)
        oracle, rng = toy_vae.Oracle.of(built), np.random.default_rng(4)
        eps = [rng.normal(size=(5, v.units)) for v in built.variables]
        variables = {T.matrix(): value for value in eps}
        logits = toy.value(built.generate(list(variables), RunningStatistics()), variables)
    z = eps[-1]
    for level in range(layers - 1, 0, -1):
        mu, log_sigma = oracle.p_z(level, z)
        z = mu + np.exp(log_sigma) * eps[level - 1]
    assert logits.shape == (5, toy.X_DIM)
    assert logits == pytest.approx(oracle.p_x(z), **EXACT)
