"""The ladder VAE: weights, one pass, F and its gradients, bounds, generation, against NumPy and integrals."""

import functools
import itertools

import numpy as np
import pytest
import theano.tensor as T
import toy
import toy_ladder
from scipy.integrate import trapezoid
from scipy.special import expit
from scipy.stats import norm
from toy_bounds import Recorder
from toy_step import slopes

from parmesan_cagem import objectives, sampling
from parmesan_cagem.bounds import importance_bounds
from parmesan_cagem.models import build
from parmesan_cagem.models.ladder import LadderVAE
from parmesan_cagem.normalisation import BatchStatistics, RunningStatistics

STATISTICS = {"running": RunningStatistics, "batch": BatchStatistics}
LAYERS = (1, 2, 3)
FIELDS = ("log_p", "log_q", "mu", "z", "kl")


def graph(built):
    """x, the noise, and the expressions of one pass, for either statistics."""
    x, noise = T.matrix("x"), [T.matrix(f"eps_{v.name}") for v in built.variables]
    return [x, *noise], {kind: built.terms(x, noise, make()) for kind, make in STATISTICS.items()}


# Weights

WIDTHS = {  # of the networks around layers 1, 2, 3 when wide = 16 and narrow = 5
    "doubled": [(16, 16), (8, 8), (4, 4)],
    "ladder": [(8, 8), (4, 4), (2, 2)],
    "nodes": [(16, 16), (5, 5), (5, 5)],
    "tapered": [(16, 5)] * 3,
}


@pytest.mark.parametrize("widths", WIDTHS)
def test_weights_by_name_and_shape(widths):
    units, d = (3, 2, 1), toy.X_DIM
    first, second = WIDTHS[widths], [pair[1] for pair in WIDTHS[widths]]
    networks = {  # edge, its units, level of the widths, heads
        "q_z1": ("x", d, 1, {"mu": 3, "log_sigma": 3}),
        "q_z2": ("d1", second[0], 2, {"mu": 2, "log_sigma": 2}),
        "q_z3": ("d2", second[1], 3, {"mu": 1, "log_sigma": 1}),
        "p_z2": ("z3", units[2], 3, {"mu": 2, "log_sigma": 2}),
        "p_z1": ("z2", units[1], 2, {"mu": 3, "log_sigma": 3}),
        "p_x": ("z1", units[0], 1, {"logits": d}),
    }
    expected = {}
    for name, (edge, incoming, level, heads) in networks.items():
        one, two = first[level - 1]
        expected |= {f"{name}.edge_{edge}.W": (incoming, one), f"{name}.dense2.W": (one, two)}
        for norm_name, width in (("bn1", one), ("bn2", two)):
            for part in ("gamma", "beta", "running_mean", "running_variance"):
                expected[f"{name}.{norm_name}.{part}"] = (width,)
        for head, width in heads.items():
            expected |= {f"{name}.{head}.W": (two, width), f"{name}.{head}.b": (width,)}
    built = toy_ladder.model(layers=3, widths=widths, narrow=5)
    assert isinstance(built, LadderVAE)
    assert {p.name: p.get_value().shape for p in built.params()} == expected
    assert len(built.params()) == len(expected)
    assert {p.dtype for p in built.params()} == {"float32"}
    assert [(v.name, v.units) for v in built.variables] == [("z1", 3), ("z2", 2), ("z3", 1)]


def test_every_batch_norm_comes_after_those_it_depends_on():
    """Up through the q, then down through the p: what ``bn_eval=collect`` goes by."""
    names = [layer.name for layer in toy_ladder.model(layers=3).batch_norms]
    order = ["q_z1", "q_z2", "q_z3", "p_z2", "p_z1", "p_x"]
    assert names == [f"{network}.{bn}" for network in order for bn in ("bn1", "bn2")]


def test_one_layer_is_the_vae_of_one_layer():
    ladder, vae = (build(toy_ladder.model(layers=1, model=name).experiment, toy.X_DIM) for name in ("lvae", "vae"))
    one, other = toy.weights_of(ladder), toy.weights_of(vae)
    assert list(one) == list(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    values = []
    for built in (ladder, vae):
        toy.randomise(built, 1)
        inputs, terms = graph(built)
        x, noise = toy_ladder.draws(built, 6)
        given = dict(zip(inputs, [x, *noise], strict=True))
        outputs = {"F": objectives.bound(terms["batch"]), **objectives.decomposition(terms["running"])}
        values.append(toy.compute(outputs, given))
    assert values[0].keys() == values[1].keys()
    assert all(np.array_equal(values[0][name], values[1][name]) for name in values[0])


# One pass


@functools.cache
def one_pass(layers):
    """A model, its x and noise, and all numbers of a pass in float64, by the kind of statistics."""
    with toy.precision("float64"):
        built = toy_ladder.model(weights=layers, layers=layers)
        inputs, terms = graph(built)
        outputs = {}
        for kind, t in terms.items():
            assert list(t.latents) == [v.name for v in built.variables]
            outputs |= {f"{kind} {v} {f}": getattr(t.latents[v], f) for v in t.latents for f in FIELDS}
            outputs |= {f"{kind} {name}": term for name, term in objectives.decomposition(t).items()}
            outputs |= {f"{kind} F": objectives.bound(t), f"{kind} log w": objectives.log_weight(t)}
            outputs |= {f"{kind} F at 0.3": objectives.bound(t, 0.3), f"{kind} p_x": t.p_x}
            outputs |= {f"{kind} log w at 0.3": objectives.log_weight(t, 0.3)}
        x, noise = toy_ladder.draws(built, 7)
        return built, x, noise, toy.compute(outputs, dict(zip(inputs, [x, *noise], strict=True)))


@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize("layers", LAYERS)
def test_every_number_of_a_pass(layers, kind):
    built, x, noise, found = one_pass(layers)
    oracle = toy_ladder.Oracle.of(built)
    p_x, latents = oracle.forward(x, noise, kind)
    expected = {"reconstruction": p_x, "p_x": p_x}
    for v, latent in zip(built.variables, latents, strict=True):
        expected |= {f"{v.name} {f}": getattr(latent, f) for f in FIELDS}
        expected |= {f"KL_{v.name}": latent.kl, f"KL_{v.name}_sampled": latent.log_q - latent.log_p}
    for suffix, temperature in (("", 1.0), (" at 0.3", 0.3)):
        value = oracle.bound(x, noise, kind, temperature)
        expected |= {f"F{suffix}": value, f"log w{suffix}": value}
    assert {f"{kind} {name}" for name in expected} == {name for name in found if name.startswith(kind)}
    for name, value in expected.items():
        np.testing.assert_allclose(found[f"{kind} {name}"], value, rtol=1e-8, atol=1e-9, err_msg=name)
    assert all(np.ptp(latent.mu, axis=0).min() > 0.01 for latent in latents)  # no dead unit makes this easy


@pytest.mark.parametrize("layers", LAYERS)
def test_the_sampled_terms_add_up_to_f_and_the_closed_forms_are_not_negative(layers):
    built, _, _, found = one_pass(layers)
    names = [f"KL_z{level}" for level in range(1, layers + 1)]
    assert objectives.term_names(built) == (
        "reconstruction",
        *itertools.chain.from_iterable((name, f"{name}_sampled") for name in names),
    )
    total = found["running reconstruction"] - sum(found[f"running {name}_sampled"] for name in names)
    np.testing.assert_allclose(total, found["running F"], rtol=1e-10)
    assert all((found[f"running {name}"] > 0).all() for name in names)


def test_the_closed_form_is_the_mean_of_the_sampled_one():
    """Given the sample of z2, over many of z1."""
    built, x, noise, found = one_pass(2)
    oracle, rng, count = toy_ladder.Oracle.of(built), np.random.default_rng(3), 20000
    rows = np.repeat(x[:1], count, axis=0)
    many = [rng.normal(size=(count, 3)), np.repeat(noise[1][:1], count, axis=0)]
    _, (z1, _) = oracle.forward(rows, many)
    differences = z1.log_q - z1.log_p
    error = differences.std() / np.sqrt(count)
    assert found["running z1 kl"][0] == pytest.approx(differences.mean(), abs=4 * error)
    assert error < 0.02 * found["running z1 kl"][0]


# Gradients


@pytest.mark.parametrize("layers", [2, 3])
def test_gradients_of_f_by_finite_differences(layers):
    with toy.precision("float64"):
        built = toy_ladder.model(weights=layers, layers=layers)
        inputs, terms = graph(built)
        x, noise = toy_ladder.draws(built, 7)
        trained = built.params(trainable=True)
        gradients = T.grad(T.mean(objectives.bound(terms["batch"], 0.7)), trained)
        names = [p.name for p in trained]
        found = toy.compute(dict(zip(names, gradients, strict=True)), dict(zip(inputs, [x, *noise], strict=True)))

    def f(weights):
        return {"F": toy_ladder.Oracle(built.experiment, weights).bound(x, noise, "batch", 0.7).mean()}

    for name in names:
        for place, slope in slopes(f, toy.weights_of(built), name, entries=12).items():
            assert found[name][place] == pytest.approx(slope["F"], rel=1e-4, abs=1e-7), (name, place)
        assert np.abs(found[name]).max() > 1e-6, name


# The bound


ALL_X = np.array(list(itertools.product((0, 1), repeat=3)), dtype=np.uint8)
K = 4000


@functools.cache
def small_model():
    """Two layers of one unit each, with q as broad as what it stands for (else no weight has a variance)."""
    built = toy_ladder.model(weights=6, x_dim=3, z1_dim=1, z2_dim=1, iw_samples=K)
    for param in built.params():
        network, _, rest = param.name.partition(".")
        if rest == "log_sigma.b":
            param.set_value(np.full_like(param.get_value(), {"q_z1": 0.8, "q_z2": 0.3, "p_z1": -0.2}[network]))
        elif rest.startswith("mu") and network != "p_z1":
            param.set_value(0.3 * param.get_value())
    return built


def test_the_bound_converges_to_the_integral():
    """p(x) = int p(z2) int p(z1|z2) p(x|z1); within four standard errors for all eight images."""
    built, recorder = small_model(), Recorder()
    oracle = toy_ladder.Oracle.of(built)
    z2, z1 = np.linspace(-8, 8, 801)[:, None], np.linspace(-15, 15, 1501)[:, None]
    mu, sigma = oracle.p_z(1, z2)
    prior = trapezoid(norm.pdf(z2) * norm.pdf(z1[:, 0][None, :], mu, sigma), z2[:, 0], axis=0)  # (z1,)
    likelihood = np.exp([toy.log_bernoulli(x, oracle.p_x(z1)) for x in ALL_X])  # (8, z1)
    p = trapezoid(prior * likelihood, z1[:, 0], axis=1)
    assert p.sum() == pytest.approx(1, abs=1e-6)
    result = importance_bounds(built, built.experiment, recorder, ALL_X, np.arange(8), rows=400)
    w = np.exp(np.concatenate([weights.reshape(8, -1) for weights in recorder.log_weights], axis=1).astype(float))
    assert w.shape == (8, K)
    error = w.std(axis=1) / (w.mean(axis=1) * np.sqrt(K))
    assert error.max() < 0.05
    assert (np.abs(result.bounds[f"F_{K}"] - np.log(p)) < 4 * error).all()
    assert (np.log(p) - result.bounds["F_1"] > 4 * error).all()


# Generation


@pytest.mark.parametrize("layers", LAYERS)
def test_generation_runs_down_from_the_top_noise(layers):
    built = toy_ladder.model(weights=layers, layers=layers)
    _, noise = toy_ladder.draws(built, 6)
    inputs = [T.matrix() for _ in noise]
    found = toy.value(built.generate(inputs, RunningStatistics()), zip(inputs, noise, strict=True))
    np.testing.assert_allclose(found, toy_ladder.Oracle.of(built).generate(noise), rtol=1e-4, atol=1e-5)
    assert np.ptp(found, axis=0).min() > 0.01


def test_samples_are_ten_rows_of_the_prior():
    built = toy_ladder.model(layers=3)
    recorder = Drawn()
    pixels = sampling.samples(built, recorder, 40, seed=1)
    assert pixels.shape == (10, 40, toy.X_DIM)
    assert [eps.shape for eps in recorder.noise] == [(400, v.units) for v in built.variables]
    assert all(abs(eps.mean()) < 0.2 and eps.std() == pytest.approx(1, abs=0.1) for eps in recorder.noise)
    expected = expit(toy_ladder.Oracle.of(built).generate([eps.astype(float) for eps in recorder.noise]))
    np.testing.assert_allclose(pixels.reshape(400, -1), expected, atol=1e-5)


class Drawn:
    """An engine that keeps the noise that its function was called with."""

    def function(self, inputs, outputs, name):
        call = toy.ENGINE.function(inputs, outputs, name)

        def recorded(*noise):
            self.noise = noise
            return call(*noise)

        return recorded
