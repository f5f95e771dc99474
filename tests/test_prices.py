"""The middle bound of Appendix A against quadrature and an oracle in NumPy; its place between F_1 and log p(x)."""

import functools

import jsonschema
import numpy as np
import pytest
import theano.tensor as T
import toy
from scipy.special import logsumexp

from parmesan_cagem import prices, prices_record
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.models.networks import Model, Variable
from parmesan_cagem.models.terms import Latent, Terms
from parmesan_cagem.models.vae import VAE
from parmesan_cagem.randomness import Purpose, noise

PLANE = {"z1_dim": 1, "z2_dim": 1}
SEED, IMAGES = 1, 3
GRID = np.linspace(-9, 9, 1201)  # of z2, and of z1 in steps of its own


@functools.cache
def vae(**changes):
    e = Experiment(model="vae", labels=0, wide=4, narrow=3, **{"z1_dim": 2, "z2_dim": 2, **changes})
    built = VAE(e, toy.X_DIM)
    toy.randomise(built, seed=7)
    return built


cagem = functools.cache(toy.model)
MODELS = {"cagem": cagem, "vae": vae}


def images():
    return toy.images(IMAGES).astype(np.uint8)


def measured(model, outer, inner, rows=None, engine=toy.ENGINE, indices=None):
    indices = np.arange(IMAGES) if indices is None else indices
    found = prices.nested_bounds(model, model.experiment, engine, images()[indices], indices, outer, inner, rows=rows)
    return found.f_1, found.middle


def first_noise(image, outer, units):
    """What the outer draws of an image are: the first numbers of its stream."""
    stream = noise(SEED, Purpose.PRICES, image)
    return stream, stream.standard_normal((outer, units), dtype=np.float32).astype(float)


def vae_forward(model, x, eps_1, eps_2):
    """Log p(x|z1), log p(z1|z2), log p(z2), log q(z1|x), log q(z2|z1): (rows,) each."""
    o = toy.Oracle.of(model)
    d = o.hidden("q_z1", {"x": x})
    mu_1, s_1 = o.head("q_z1.mu", d), o.head("q_z1.log_sigma", d)
    z1 = mu_1 + np.exp(s_1) * eps_1
    d = o.hidden("q_z2", {"z1": z1})
    mu_2, s_2 = o.head("q_z2.mu", d), o.head("q_z2.log_sigma", d)
    z2 = mu_2 + np.exp(s_2) * eps_2
    p_x, p_z1 = vae_p(model, x, z1, z2)
    return p_x, p_z1, toy.log_normal(z2, 0, 0), toy.log_normal(z1, mu_1, s_1), toy.log_normal(z2, mu_2, s_2)


def vae_p(model, x, z1, z2):
    o = toy.Oracle.of(model)
    d = o.hidden("p_z1", {"z2": z2})
    p_z1 = toy.log_normal(z1, o.head("p_z1.mu", d), o.head("p_z1.log_sigma", d))
    return toy.log_bernoulli(x, o.head("p_x.logits", o.hidden("p_x", {"z1": z1}))), p_z1


def of_draws(name, model, x, eps_1, rest):
    """Log weight and bound of single draws, in NumPy."""
    if name == "cagem":
        e = model.experiment
        t = toy.Oracle.of(model).forward(x, eps_1, rest.reshape(len(x) * e.clusters, e.z2_dim))
        return toy.log_weight(t), toy.bound(t)
    p_x, p_z1, p_z2, q_z1, q_z2 = vae_forward(model, x, eps_1, rest)
    return (p_x + p_z1 + p_z2 - q_z1 - q_z2,) * 2


@pytest.mark.parametrize("name", MODELS)
def test_a_few_draws_as_numpy_does_them(name):
    model, outer, inner = MODELS[name](), 2, 3
    e = model.experiment
    width = e.z2_dim * (e.clusters if name == "cagem" else 1)
    f_1, middle = measured(model, outer, inner)
    for i, x in enumerate(images().astype(float)):
        stream, eps_1 = first_noise(i, outer, e.z1_dim)
        rest = stream.standard_normal((outer * inner, width), dtype=np.float32).astype(float)
        rows = [np.repeat(x[None], inner, axis=0), None, None]
        by_z1, all_bounds = [], []
        for m in range(outer):
            rows[1:] = np.repeat(eps_1[m : m + 1], inner, axis=0), rest[m * inner : (m + 1) * inner]
            weights, bounds = of_draws(name, model, *rows)
            by_z1.append(np.log(np.mean(np.exp(weights))))
            all_bounds.append(bounds)
        assert middle[i] == pytest.approx(np.mean(by_z1), rel=1e-4)
        assert f_1[i] == pytest.approx(np.mean(all_bounds), rel=1e-4)


def log_joint(name, model, x, z1):
    """Log p(x,z1), z2 integrated on the grid and y summed."""
    o, n = toy.Oracle.of(model), len(GRID)
    z2 = GRID[:, None]
    x_rows, z1_rows = np.repeat(x[None], n, axis=0), np.repeat(z1[None], n, axis=0)
    prior = toy.log_normal(z2, 0, 0)
    if name == "vae":
        p_x, p_z1 = vae_p(model, x_rows, z1_rows, z2)
        values = [p_x + p_z1 + prior]
    else:
        p_y, values = o.p_y(z2), []
        for c in range(o.k):
            y = o.one_hot([c] * n)
            p_z1 = toy.log_normal(z1_rows, *o.p_z1(y, z2))
            values.append(toy.log_bernoulli(x_rows, o.p_x(y, z1_rows)) + p_z1 + p_y[:, c] + prior)
    return logsumexp(values) + np.log(GRID[1] - GRID[0])


def q_z1(model, x):
    o = toy.Oracle.of(model)
    d = o.hidden("q_z1", {"x": x[None]})
    return o.head("q_z1.mu", d)[0], o.head("q_z1.log_sigma", d)[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_middle_bound_is_what_quadrature_over_z2_gives(name):
    model, outer = MODELS[name](**PLANE), 3
    _, middle = measured(model, outer, 3000)
    _, loose = measured(model, outer, 2)
    exact = []
    for i, x in enumerate(images().astype(float)):
        mu, s = q_z1(model, x)
        z1s = mu + np.exp(s) * first_noise(i, outer, 1)[1]
        exact.append(np.mean([log_joint(name, model, x, z1) - toy.log_normal(z1, mu, s) for z1 in z1s]))
    assert middle == pytest.approx(exact, abs=0.06)
    assert np.abs(loose - exact).max() > 0.1  # so the test could fail


@pytest.mark.parametrize("name", MODELS)
def test_it_lies_between_f_1_and_log_p_x(name):
    model, outer = MODELS[name](**PLANE), 200
    f_1, middle = measured(model, outer, 20)
    assert (f_1 <= middle + 1e-5).all()  # for every image; float32's rounding
    assert (f_1 < middle - 0.01).any()
    z1s = np.linspace(-9, 9, 301)
    for i, x in enumerate(images().astype(float)):
        each = [log_joint(name, model, x, np.array([z1])) for z1 in z1s]
        log_p_x = logsumexp(each) + np.log(z1s[1] - z1s[0])
        mu, s = q_z1(model, x)
        z1_draws = mu + np.exp(s) * first_noise(i, outer, 1)[1]
        spread = np.std([np.interp(z1[0], z1s, each) - toy.log_normal(z1, mu, s) for z1 in z1_draws])
        assert middle[i] < log_p_x + 4 * spread / np.sqrt(outer)


class Counting:
    """The engine, and the numbers of rows that it was given at once."""

    rows_per_call = 60

    def __init__(self):
        self.rows = []

    def function(self, inputs, outputs, name):
        function = toy.ENGINE.function(inputs, outputs, name)

        def call(x, *others):
            self.rows.append(len(x))
            return function(x, *others)

        return call


def test_how_draws_are_cut_into_calls_changes_nothing_but_the_memory():
    model = cagem()
    expected = measured(model, 3, 40)
    for rows in (1, 7, 10_000):
        np.testing.assert_allclose(measured(model, 3, 40, rows=rows), expected, rtol=1e-5)
    engine = Counting()
    measured(model, 3, 40, engine=engine)
    assert max(engine.rows) <= engine.rows_per_call // model.classes


def test_an_image_has_the_same_noise_in_every_subset():
    subset = np.array([2, 0])
    expected = np.array(measured(cagem(), 2, 5))[:, subset]
    np.testing.assert_allclose(measured(cagem(), 2, 5, indices=subset), expected, rtol=1e-5)


def test_draws_nest():
    nested = prices.NestedNoise(noise(1, Purpose.PRICES, 0), outer=3, inner=4, width=2)
    rows = np.concatenate([nested.standard_normal((n, 5), dtype=np.float32) for n in (3, 1, 6, 2)])
    by_z1 = rows.reshape(3, 4, 5)
    assert (by_z1[:, :, :2] == by_z1[:, :1, :2]).all()
    assert len(np.unique(rows[:, 0])) == 3
    assert len(np.unique(rows[:, 2:])) == 12 * 3
    assert rows.dtype == np.float32


# The order of inference


class TopDown(Model):
    """z2 is drawn first, z1 given it."""

    def _build(self, e):
        self.variables = (self._noise("z1", 2), self._noise("z2", 2))

    def terms(self, x, noise, statistics, y=None):
        z2 = noise[1]
        z1 = noise[0] + z2

        def latent(z, z_above):
            return Latent(T.sum(-(z**2), axis=1), T.sum(z_above - z, axis=1), z, z)

        return Terms(T.sum(x, axis=1), {"z1": latent(z1, z2), "z2": latent(z2, 0)}, {})


class PerClass(TopDown):
    """Its only Gaussian variable is drawn for every class."""

    def _build(self, e):
        self.variables = (Variable("z1", 2, None, per_class=True), self._noise("z2", 2))

    def terms(self, x, noise, statistics, y=None):
        terms = super().terms(x, noise, statistics)
        return Terms(terms.p_x, {"y": Latent(terms.p_x, terms.p_x), **terms.latents}, {})


def test_the_first_variable_is_found():
    assert prices.order(cagem()) == prices.Order("z1", ("y", "z2"))
    assert prices.order(vae()) == prices.Order("z1", ("z2",))
    assert prices.order(vae(layers=3)) == prices.Order("z1", ("z2", "z3"))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: TopDown(Experiment(model="lvae", labels=0), 5), ["--model lvae", "draws z1 given z2", "vae"]),
        (lambda: PerClass(Experiment(model="m2"), 5), ["--model m2", "z1 given"]),
        (lambda: vae(layers=1), ["--model vae", "z1 only", "--layers 2"]),
    ],
)
def test_another_order_is_refused(model, words):
    with pytest.raises(UserError) as error:
        prices.order(model())
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


# The numbers


def bound(*by_seed):
    return {"mean": float(np.mean(by_seed)), "standard_error": 0.5, "by_seed": list(by_seed)}


def test_prices_add_up():
    bounds = {"F_1": bound(-100.0, -101.0), "F_50": bound(-90.0, -92.0)}
    found = prices_record.numbers(bounds, 50, bound(2.0, 3.0), {"price_first": 0.25})
    assert found["middle"] == {"mean": -98.0, "standard_error": None, "by_seed": [-98.0, -98.0]}
    assert found["price_first"] == {"mean": 7.0, "standard_error": 0.25, "by_seed": [8.0, 6.0]}
    gap = found["F_k"]["mean"] - found["F_1"]["mean"]
    assert found["price_later"]["mean"] + found["price_first"]["mean"] == gap


def test_the_schema_describes_and_requires_every_key():
    schema = prices_record.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for node in (schema, *(v for v in schema["properties"].values() if "properties" in v)):
        assert node["additionalProperties"] is False
        assert set(node["required"]) == set(node["properties"])
    assert set(schema["properties"]["protocol"]["properties"]) == set(prices_record.PROTOCOL)
