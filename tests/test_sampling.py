"""Samples, of a class or of the prior alone, and the pictures of them."""

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import get_output
from PIL import Image
from toy_evaluation import D, K, engine, toy
from vae_oracle import VAEOracle

from parmesan_cagem import sampling
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.report.figures import save_grid


@pytest.fixture(scope="module")
def trained():
    return toy()


# Samples


class Recorder:
    """An engine that keeps what its functions were called with."""

    name, rows_per_call = "c", 5000

    def __init__(self):
        self.calls = {}

    def function(self, inputs, outputs, name):
        call = engine().function(inputs, outputs, name)

        def recorded(*values):
            self.calls[name] = values
            return call(*values)

        return recorded


def test_samples_are_of_the_class_of_their_row():
    _, model = toy()
    edge = next(p for p in model.params() if p.name == "p_x.edge_z1.W")
    edge.set_value(0 * edge.get_value())  # p(x|y,z1) then depends on y alone
    images = sampling.samples(model, engine(), 4, seed=1)
    assert images.shape == (K, 4, D)
    assert np.ptp(images, axis=1).max() < 1e-6
    y = T.matrix()
    logits = get_output(
        model.p_x, {model.y: y, model.z1: T.zeros((K, 3))}, statistics=RunningStatistics(), classes="given"
    )
    expected = theano.function([y], T.nnet.sigmoid(logits), mode="FAST_COMPILE")(np.eye(K, dtype=np.float32))
    assert np.allclose(images[:, 0], expected, atol=1e-6)
    assert np.abs(images[0, 0] - images[1, 0]).max() > 0.05


def test_samples_differ_and_follow_from_the_seed(trained):
    _, model = trained
    one, again, other = (sampling.samples(model, engine(), 5, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert len(np.unique(one.reshape(-1, D), axis=0)) == K * 5
    assert np.abs(one.mean(axis=1)[0] - one.mean(axis=1)[1]).max() > 0.01


def test_the_z2_of_a_class_are_drawn_from_p_z2_given_y(trained):
    _, model = trained
    recorder = Recorder()
    sampling.samples(model, recorder, 400, seed=1)
    (y, _, z2), (candidates,) = recorder.calls["p(x|.)"], recorder.calls["p(y|z2)"]
    assert np.array_equal(y, np.repeat(np.eye(K), 400, axis=0))
    given = T.matrix()
    logits = get_output(model.p_y, {model.z2: given}, statistics=RunningStatistics(), classes="given")
    p_y = theano.function([given], T.nnet.softmax(logits), mode="FAST_COMPILE")
    prior = p_y(candidates).astype(float)  # (1000, K)
    for c in range(K):
        # Under p(z2|y) the mean of p(y|z2) is E[p^2]/E[p] over the prior.
        expected = (prior[:, c] ** 2).mean() / prior[:, c].mean()
        assert p_y(z2[400 * c : 400 * (c + 1)])[:, c].mean() == pytest.approx(expected, abs=0.06)
        assert expected > prior[:, c].mean() + 0.05  # or the test could not fail


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_without_classes_every_variable_is_drawn_from_the_prior(layers):
    _, model = toy(model="vae", layers=layers)
    recorder = Recorder()
    images = sampling.samples(model, recorder, 5, seed=1)
    assert images.shape == (10, 5, D)
    assert list(recorder.calls) == ["p(x|.)"]
    noise = recorder.calls["p(x|.)"]
    assert [eps.shape for eps in noise] == [(50, units) for units in (3, 2, 1)[:layers]]
    assert images.reshape(50, D) == pytest.approx(VAEOracle(model).generate(noise), abs=1e-5)
    drawn = np.concatenate([eps.ravel() for eps in noise])
    assert len(np.unique(drawn)) == drawn.size
    assert len(np.unique(images.reshape(50, D), axis=0)) == 50
    assert np.array_equal(images, sampling.samples(model, engine(), 5, seed=1))
    assert not np.array_equal(images, sampling.samples(model, engine(), 5, seed=2))


def test_the_prior_is_a_standard_normal():
    _, model = toy(model="vae")
    recorder = Recorder()
    sampling.samples(model, recorder, 300, seed=1)
    for eps in recorder.calls["p(x|.)"]:  # 3,000 draws: five standard errors
        assert np.abs(eps.mean(axis=0)).max() < 5 / np.sqrt(3000)
        assert np.abs(eps.std(axis=0) - 1).max() < 5 / np.sqrt(6000)


# Pictures


def test_a_grid_has_the_pixels_of_its_images(tmp_path):
    images = np.zeros((2, 3, 4))
    images[0, 1] = [1.0, 0.5, 0.25, -3.0]
    images[1, 2] = [2.0, 0.0, 0.1, 0.9]
    save_grid(images, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.mode == "L"
        pixels = np.asarray(picture)
    assert pixels.shape == (2 * (2 * 4 + 2), 2 * (3 * 4 + 2))
    assert np.array_equal(pixels[::2, ::2], pixels[1::2, 1::2])  # every pixel twice in each direction
    small = pixels[::2, ::2]
    assert small[2:4, 6:8].tolist() == [[255, 128], [64, 0]]
    assert small[6:8, 10:12].tolist() == [[255, 0], [26, 230]]
    assert small[2:4, 2:4].tolist() == [[0, 0], [0, 0]]
    frame = np.ones((10, 14), bool)
    for row in (2, 6):
        for column in (2, 6, 10):
            frame[row : row + 2, column : column + 2] = False
    assert set(small[frame]) == {96}
