"""The AVAE: its weights, terms and generation against an independent forward pass in NumPy, and log p(x) at large k."""

import functools
import itertools

import avae_oracle
import numpy as np
import pytest
import theano.tensor as T
import toy
from convergence import IMAGES, SAMPLES, assert_converged, broad, standard
from scipy.integrate import trapezoid
from scipy.stats import norm
from toy_step import slopes

from parmesan_cagem import models, objectives
from parmesan_cagem.normalisation import BatchStatistics, RunningStatistics

COUNT = 5
EXACT = {"rel": 1e-9, "abs": 1e-9}
EDGES = {
    **{"q_a1": ("x",), "q_a2": ("x", "a1"), "q_a3": ("x", "a2")},
    **{"q_z1": ("x", "a1"), "q_z2": ("z1", "a2"), "q_z3": ("z2", "a3")},
    **{"p_a1": ("z1", "z2", "z3"), "p_a2": ("z2", "z3"), "p_a3": ("z3",)},
    **{"p_z1": ("z2",), "p_z2": ("z3",), "p_x": ("z1",)},
}
UNITS = {"x": 9, "a1": 4, "a2": 4, "a3": 4, "z1": 7, "z2": 6, "z3": 3}


def test_weights_by_name_and_shape():
    """Three layers with the widths 12, 6, 3, 1: a variable's own p(v|.) lies one level above its q(v|.)."""
    widths = {"q_a1": 12, "q_z1": 12, "p_x": 12, "q_a2": 6, "q_z2": 6, "p_a1": 6, "p_z1": 6}
    widths |= {"q_a3": 3, "q_z3": 3, "p_a2": 3, "p_z2": 3, "p_a3": 1}
    expected = {}
    for network, edges in EDGES.items():
        width, v = widths[network], network.partition("_")[2]
        for edge in edges:
            expected[f"{network}.edge_{edge}.W"] = (UNITS[edge], width)
        expected[f"{network}.dense2.W"] = (width, width)
        for part in itertools.product(("bn1", "bn2"), ("gamma", "beta", "running_mean", "running_variance")):
            expected[".".join((network, *part))] = (width,)
        for head in ("logits",) if v == "x" else ("mu", "log_sigma"):
            expected[f"{network}.{head}.W"], expected[f"{network}.{head}.b"] = (width, UNITS[v]), (UNITS[v],)
    e = avae_oracle.experiment(widths="doubled", wide=12, z1_dim=7, z2_dim=6)
    built = models.build(e, UNITS["x"])
    assert {p.name: p.get_value().shape for p in built.params()} == expected
    assert len(built.params()) == len(expected)


def test_variables_are_drawn_from_below_and_the_top_has_a_closed_kl():
    built = avae_oracle.model()
    assert [v.name for v in built.variables] == ["a1", "z1", "a2", "z2", "a3", "z3"]
    assert [v.name for v in built.variables if v.analytic] == ["z3"]
    assert built.noise_shapes(2) == [(2, 4), (2, 3), (2, 4), (2, 2), (2, 4), (2, 1)]
    assert (built.q_y, built.classifiers, built.routed) == (None, (), frozenset())


@functools.cache
def both(kind, layers=3):
    """Values in float64, from Theano, and the oracle's forward pass."""
    with toy.precision("float64"):
        built = avae_oracle.model(layers=layers)
        x, noise = avae_oracle.draws(built, COUNT)
        inputs = {T.matrix(): value for value in (x, *noise.values())}
        x_in, *eps = inputs
        terms = built.terms(x_in, eps, RunningStatistics() if kind == "running" else BatchStatistics())
        outputs = {"p_x": terms.p_x, "log_weight": objectives.log_weight(terms)}
        outputs.update({("F", t): objectives.bound(terms, t) for t in (0.3, 1.0)})
        outputs.update({("part", name): part for name, part in objectives.decomposition(terms).items()})
        for name, v in terms.latents.items():
            outputs.update({("log_p", name): v.log_p, ("log_q", name): v.log_q, ("mu", name): v.mu, ("z", name): v.z})
        values = toy.compute(outputs, inputs)
    oracle = avae_oracle.Oracle.of(built)
    return values, oracle.forward(x, noise, kind), oracle


@pytest.mark.parametrize(("kind", "layers"), [("running", 3), ("batch", 3), ("running", 1)])
def test_every_term(kind, layers):
    values, (p_x, latents), oracle = both(kind, layers)
    assert {v for part, v in (k for k in values if isinstance(k, tuple)) if part == "z"} == {*latents}
    assert values["p_x"] == pytest.approx(p_x, **EXACT)
    for name, (log_p, log_q, mu, z) in latents.items():
        expected = {"log_p": log_p, "log_q": log_q, "mu": mu, "z": z}
        for part, value in expected.items():
            assert values[part, name] == pytest.approx(value, **EXACT), (part, name)
    difference = sum(log_p - log_q for log_p, log_q, _, _ in latents.values())
    for temperature in (0.3, 1.0):
        assert values["F", temperature] == pytest.approx(p_x + temperature * difference, **EXACT)
    assert values["log_weight"] == pytest.approx(p_x + difference, **EXACT)
    top = f"z{layers}"
    assert values["part", f"KL_{top}"] == pytest.approx(oracle.kl_top, **EXACT)
    for name, (log_p, log_q, _, _) in latents.items():
        part = f"KL_{top}_sampled" if name == top else f"KL_{name}"
        assert values["part", part] == pytest.approx(log_q - log_p, **EXACT), name


def test_gradients_of_f_equal_finite_differences():
    with toy.precision("float64"):
        built = avae_oracle.model(layers=2)
        x, noise = avae_oracle.draws(built, COUNT)
        inputs = {T.matrix(): value for value in (x, *noise.values())}
        x_in, *eps = inputs
        trained = built.params(trainable=True)
        terms = built.terms(x_in, eps, BatchStatistics())
        gradients = T.grad(T.mean(objectives.bound(terms, 0.7)), trained)
        found = toy.compute(dict(zip([p.name for p in trained], gradients, strict=True)), inputs)

    def f(weights):
        p_x, latents = avae_oracle.Oracle(built.experiment, weights).forward(x, noise, "batch")
        return {"F": (p_x + 0.7 * sum(log_p - log_q for log_p, log_q, _, _ in latents.values())).mean()}

    for name, gradient in found.items():
        for place, slope in slopes(f, toy.weights_of(built), name, entries=6).items():
            assert gradient[place] == pytest.approx(slope["F"], rel=1e-4, abs=1e-7), (name, place)
        assert np.abs(gradient).max() > 1e-6, name


def test_generate_draws_each_z_given_the_one_above_and_no_a():
    with toy.precision("float64"):
        built = avae_oracle.model()
        _, noise = avae_oracle.draws(built, 4)
        eps = {v: T.matrix() for v in noise}
        logits = built.generate(list(eps.values()), RunningStatistics())
        found = toy.value(logits, {eps[v]: value for v, value in noise.items() if v[0] == "z"})
    oracle, z = avae_oracle.Oracle.of(built), noise["z3"]
    for below, above in (("z2", "z3"), ("z1", "z2")):
        mu, log_sigma = oracle.gaussian(f"p_{below}", {above: z})
        z = mu + np.exp(log_sigma) * noise[below]
    assert found == pytest.approx(oracle.p_x(z), **EXACT)


def test_the_bound_converges_to_log_p_which_knows_no_a():
    """L = 2, by the trapezoidal rule."""
    sizes = {"layers": 2, "z1_dim": 1, "z2_dim": 1, "a_dim": 1}
    built = broad(avae_oracle.model(x_dim=3, **sizes))
    oracle = avae_oracle.Oracle.of(built)
    z2, z1 = np.linspace(-8, 8, 801)[:, None], np.linspace(-15, 15, 1501)[:, None]
    mu, log_sigma = oracle.gaussian("p_z1", {"z2": z2})
    joint = standard(z2)[:, None] * norm.pdf(z1[:, 0][None, :], mu, np.exp(log_sigma))  # (z2, z1)
    p_z1 = trapezoid(joint, z2[:, 0], axis=0)  # (z1,)
    p = [trapezoid(p_z1 * np.exp(toy.log_bernoulli(x, oracle.p_x(z1))), z1[:, 0]) for x in IMAGES]
    assert_converged(built, avae_oracle.experiment(iw_samples=SAMPLES, **sizes), np.log(p))
