"""Views of models without y, and of models whose y has no parent in p, against the forward pass in NumPy."""

from pathlib import Path

import numpy as np
import pytest
import theano.tensor as T
import toy
from lasagne.layers import InputLayer, get_output
from scipy.special import expit, softmax
from view_draws import close, invert, normal

from parmesan_cagem import models, views
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.layers import SampleLayer
from parmesan_cagem.models.networks import Model
from parmesan_cagem.models.terms import Latent, Terms
from parmesan_cagem.randomness import Purpose, generator, noise
from parmesan_cagem.trained import Trained

N, SEED = 7, 3


@pytest.fixture(params=[1, 2, 3], ids=lambda layers: f"L={layers}")
def vae(request):
    e = Experiment(model="vae", labels=0, layers=request.param, z1_dim=3, z2_dim=4, wide=4, narrow=3)
    built = models.build(e, toy.X_DIM)
    toy.randomise(built, 5)
    return Trained(Path("toy"), e, built, {"epoch": 1}, "0" * 64, ())


def gaussian(trained, name, edges):
    """mu and sigma of a conditional, from the rows of its incoming edges."""
    oracle = toy.Oracle.of(trained.model)
    d = oracle.hidden(name, edges)
    return oracle.head(f"{name}.mu", d), np.exp(oracle.head(f"{name}.log_sigma", d))


def pixels(trained, **edges):
    oracle = toy.Oracle.of(trained.model)
    return expit(oracle.head("p_x.logits", oracle.hidden("p_x", edges)))


def climb(vae, x, eps):
    """z1 ~ q(z1|x), z2 ~ q(z2|z1) ..."""
    z, below = {}, {"x": x}
    for level, drawn in enumerate(eps, 1):
        mu, sigma = gaussian(vae, f"q_z{level}", below)
        below = {f"z{level}": mu + sigma * drawn}
        z |= below
    return z


def test_latents_of_a_vae_are_draws_of_each_layer_given_the_one_below(vae):
    x, indices, units = toy.images(N), np.arange(20, 20 + N), vae.experiment.latent_units
    drawn = views.latents(vae, toy.ENGINE, x.astype(np.uint8), indices, SEED)
    eps = np.stack([normal(noise(SEED, Purpose.LATENTS, i), sum(units)) for i in indices])
    expected = climb(vae, x, np.split(eps, np.cumsum(units)[:-1], axis=1))
    assert drawn.y is None
    assert list(drawn.z) == list(expected)
    for name, z in expected.items():
        close(drawn.z[name], z)


def test_samples_of_a_vae_go_down_from_the_prior_of_its_top_layer(vae):
    draws, units = generator(SEED, Purpose.PRIOR), vae.experiment.latent_units
    z = normal(draws, N, units[-1])
    for level in range(len(units) - 1, 0, -1):
        mu, sigma = gaussian(vae, f"p_z{level}", {f"z{level + 1}": z})
        z = mu + sigma * normal(draws, N, units[level - 1])
    close(views.samples(vae, toy.ENGINE, N, SEED), pixels(vae, z1=z))


def test_reconstructions_of_a_vae(vae):
    x, draws = toy.images(N), generator(SEED, Purpose.RECONSTRUCTIONS)
    z1 = climb(vae, x, [normal(draws, N, units) for units in vae.experiment.latent_units])["z1"]
    close(views.reconstructions(vae, toy.ENGINE, x.astype(np.uint8), SEED), pixels(vae, z1=z1))


@pytest.mark.parametrize("view", [views.class_probabilities, lambda *a: views.mesh(*a, 0, SEED)], ids=["p", "mesh"])
def test_the_plane_of_z2_is_cagem_s(vae, view):
    with pytest.raises(UserError, match=r"toy: model vae has no p\(y\|z2\).*; name a run of --model cagem"):
        view(vae, toy.ENGINE, np.zeros((N, 4)))


class Auxiliary(Model):
    """a ~ q(a|x), y ~ q(y|x,a), z1 ~ q(z1|x,a,y); z1 ~ N(0, I), p(x|y,z1), and a p(a|.) that no picture needs."""

    classifiers = ("q",)

    def _build(self, e):
        self.classes = e.clusters
        self.y = InputLayer((None, e.clusters), input_var=T.eye(e.clusters), name="y")
        self.variables = (self._noise("a", 2), self._noise("z1", e.z1_dim, per_class=True))
        self.a, self.z1, q = *(None, None), {}
        for v, edges in zip(self.variables, ({}, {"per_class": {"y": self.y}}), strict=True):
            below = {"x": self.x, **({"a": self.a} if self.a else {})}
            q[v.name] = self._gaussian(f"q_{v.name}", self._network(f"q_{v.name}", 1, below, **edges), v.units)
            setattr(self, v.name, SampleLayer(*q[v.name], v.eps, name=v.name))
        hidden = self._network("q_y", 1, {"x": self.x, "a": self.a})
        self.q_y = self._logits("q_y", hidden, e.clusters)
        hidden = self._network("p_x", 1, per_class={"y": self.y}, per_pair={"z1": self.z1})
        self.p_x = self._logits("p_x", hidden, self.x_dim)
        self.heads = [*q["a"], self.q_y, *q["z1"], self.p_x]

    def terms(self, x, noise, statistics, y=None):
        known = {self.x: x, self.y: y, **{v.eps: eps for v, eps in zip(self.variables, noise, strict=True)}}
        z = get_output([self.a, self.z1], known, statistics=statistics, classes="given")
        latents = {v.name: Latent(z[0], z[0], z=drawn) for v, drawn in zip(self.variables, z, strict=True)}
        return Terms(z[0], latents, {})

    def generate(self, noise, statistics, y=None):
        return get_output(self.p_x, {self.z1: noise[1], self.y: y}, statistics=statistics, classes="given")


@pytest.fixture
def auxiliary():
    e = Experiment(model="adgm", labels=0, clusters=3, z1_dim=2, wide=4, narrow=3)
    built = Auxiliary(e, toy.X_DIM)
    toy.randomise(built, 6)
    return Trained(Path("toy"), e, built, {"epoch": 1}, "0" * 64, ())


def infer(trained, x, eps_a, uniform, eps_z1):
    oracle = toy.Oracle.of(trained.model)
    mu, sigma = gaussian(trained, "q_a", {"x": x})
    a = mu + sigma * eps_a
    y = invert(softmax(oracle.head("q_y.logits", oracle.hidden("q_y", {"x": x, "a": a})), axis=1), uniform)
    mu, sigma = gaussian(trained, "q_z1", {"x": x, "a": a, "y": oracle.one_hot(y)})
    return a, y, mu + sigma * eps_z1


def test_latents_of_a_model_that_draws_a_variable_before_y_and_one_after_it(auxiliary):
    x, indices = toy.images(N), np.arange(N)
    drawn = views.latents(auxiliary, toy.ENGINE, x.astype(np.uint8), indices, SEED)
    streams = [noise(SEED, Purpose.LATENTS, i) for i in indices]
    eps = np.stack([normal(s, 4) for s in streams])
    a, y, z1 = infer(auxiliary, x, eps[:, :2], [s.random() for s in streams], eps[:, 2:])
    close(drawn.z["a"], a)
    close(drawn.z["z1"], z1)
    assert drawn.y.tolist() == y.tolist()


def test_reconstructions_of_a_model_whose_pixels_need_what_is_drawn_after_y(auxiliary):
    x, draws = toy.images(N), generator(SEED, Purpose.RECONSTRUCTIONS)
    _, y, z1 = infer(auxiliary, x, normal(draws, N, 2), draws.random(N), normal(draws, N, 2))
    one_hot = toy.Oracle.of(auxiliary.model).one_hot(y)
    close(views.reconstructions(auxiliary, toy.ENGINE, x.astype(np.uint8), SEED), pixels(auxiliary, z1=z1, y=one_hot))


def test_samples_of_a_model_whose_y_has_no_parent_have_every_class_alike(auxiliary):
    draws = generator(SEED, Purpose.PRIOR)
    z1, uniform = normal(draws, N, 2), draws.random(N)
    one_hot = toy.Oracle.of(auxiliary.model).one_hot(np.floor(3 * uniform).astype(int))
    close(views.samples(auxiliary, toy.ENGINE, N, SEED), pixels(auxiliary, z1=z1, y=one_hot))
