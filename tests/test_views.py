"""Views against the forward pass in NumPy, with the noise that their seeds and purposes give."""

from pathlib import Path

import numpy as np
import pytest
import toy
from scipy.special import expit, softmax
from view_draws import close, invert, normal

from parmesan_cagem import view_functions, views
from parmesan_cagem.errors import UserError
from parmesan_cagem.randomness import Purpose, generator, noise
from parmesan_cagem.trained import Trained

N, SEED = 7, 3


def trained_toy(**changes):
    built = toy.model(**changes)
    return Trained(Path("toy"), built.experiment, built, {"epoch": 1}, "0" * 64, ())


@pytest.fixture(params=[{}, {"class_bn": "q"}, {"skip": False}, {"z2_dim": 5, "clusters": 4}], ids=str)
def trained(request):
    return trained_toy(**request.param)


def encode(trained, x, eps):
    """z1 ~ q(z1|x) and q(y|z1,x)."""
    oracle = toy.Oracle.of(trained.model)
    d = oracle.hidden("q_z1", {"x": x})
    z1 = oracle.head("q_z1.mu", d) + np.exp(oracle.head("q_z1.log_sigma", d)) * eps
    logits = oracle.head("q_y.logits", oracle.hidden("q_y", {"x": x, "z1": z1}))
    return z1, softmax(logits, axis=1)


def decode(trained, y, z2, eps):
    oracle = toy.Oracle.of(trained.model)
    one_hot = oracle.one_hot(y)
    mu, log_sigma = oracle.p_z1(one_hot, z2)
    return expit(oracle.p_x(one_hot, mu + np.exp(log_sigma) * eps))


def test_latents_are_ancestral_draws(trained):
    e, x, indices = trained.experiment, toy.images(N), np.arange(20, 20 + N)
    drawn = views.latents(trained, toy.ENGINE, x.astype(np.uint8), indices, SEED)
    streams = [noise(SEED, Purpose.LATENTS, i) for i in indices]
    eps = np.stack([normal(s, e.z1_dim + e.z2_dim) for s in streams])
    z1, q_y = encode(trained, x, eps[:, : e.z1_dim])
    y = invert(q_y, [s.random() for s in streams])
    oracle = toy.Oracle.of(trained.model)
    d = oracle.hidden("q_z2", ({"x": x} if e.skip else {}) | {"z1": z1, "y": oracle.one_hot(y)})
    z2 = oracle.head("q_z2.mu", d) + np.exp(oracle.head("q_z2.log_sigma", d)) * eps[:, e.z1_dim :]
    close(drawn.z["z1"], z1)
    assert drawn.y.tolist() == y.tolist()
    close(drawn.z["z2"], z2)


def test_a_subset_gets_the_draws_of_the_full_set(trained):
    x = toy.images(N).astype(np.uint8)
    every = views.latents(trained, toy.ENGINE, x, np.arange(N), SEED)
    some = views.latents(trained, toy.ENGINE, x[[5, 2]], np.array([5, 2]), SEED)
    close(some.z["z1"], every.z["z1"][[5, 2]])
    close(some.z["z2"], every.z["z2"][[5, 2]])
    assert some.y.tolist() == every.y[[5, 2]].tolist()


def test_y_has_the_frequencies_of_q(trained):
    x = np.repeat(toy.images(1), 4000, axis=0)
    drawn = views.latents(trained, toy.ENGINE, x.astype(np.uint8), np.arange(len(x)), SEED)
    q_y = softmax(_q_y_logits(trained, x, drawn.z["z1"]), axis=1)
    frequencies = np.bincount(drawn.y, minlength=trained.experiment.clusters) / len(x)
    np.testing.assert_allclose(frequencies, q_y.mean(axis=0), atol=0.03)
    assert frequencies.max() < 0.97  # else the test would see nothing


def _q_y_logits(trained, x, z1):
    oracle = toy.Oracle.of(trained.model)
    return oracle.head("q_y.logits", oracle.hidden("q_y", {"x": x, "z1": z1.astype(np.float64)}))


@pytest.mark.parametrize("classes", ["random", 1, [0, 1, 2, 2, 1, 0, 0]], ids=str)
@pytest.mark.parametrize("z1", ["sample", "mean"])
def test_mesh(trained, classes, z1):
    e = trained.experiment
    z2 = np.random.default_rng(0).normal(size=(N, e.z2_dim)).astype(np.float32)
    images = views.mesh(trained, toy.ENGINE, z2, classes, SEED, z1)
    draws = generator(SEED, Purpose.MESH)
    uniform, eps = draws.random(N), normal(draws, N, e.z1_dim)
    p_y = np.exp(toy.Oracle.of(trained.model).p_y(z2))
    close(views.class_probabilities(trained, toy.ENGINE, z2), p_y)
    y = invert(p_y, uniform) if classes == "random" else np.broadcast_to(classes, N)
    close(images, decode(trained, y, z2, eps * (z1 == "sample")))


def test_samples_come_from_the_prior(trained):
    e, draws = trained.experiment, generator(SEED, Purpose.PRIOR)
    z2, uniform, eps = normal(draws, N, e.z2_dim), draws.random(N), normal(draws, N, e.z1_dim)
    y = invert(np.exp(toy.Oracle.of(trained.model).p_y(z2)), uniform)
    close(views.samples(trained, toy.ENGINE, N, SEED), decode(trained, y, z2, eps))


def test_reconstructions(trained):
    x, draws = toy.images(N), generator(SEED, Purpose.RECONSTRUCTIONS)
    z1, q_y = encode(trained, x, normal(draws, N, trained.experiment.z1_dim))
    oracle = toy.Oracle.of(trained.model)
    expected = expit(oracle.p_x(oracle.one_hot(invert(q_y, draws.random(N))), z1))
    close(views.reconstructions(trained, toy.ENGINE, x.astype(np.uint8), SEED), expected)


def test_blocks_do_not_matter(trained, monkeypatch):
    z2 = np.random.default_rng(0).normal(size=(N, trained.experiment.z2_dim))
    whole = views.mesh(trained, toy.ENGINE, z2, "random", SEED)
    monkeypatch.setattr(view_functions, "ROWS", 3)  # the last block has one row
    close(views.mesh(trained, toy.ENGINE, z2, "random", SEED), whole)


def test_seeds_give_other_draws_and_the_same_seed_the_same_bits():
    trained = trained_toy()
    first, again, other = (views.samples(trained, toy.ENGINE, N, seed) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert not np.allclose(first, other)


def test_purposes_keep_their_numbers():
    """A purpose is part of a seed: moving one would change runs that were recorded."""
    assert [(p.name, int(p)) for p in Purpose][:8] == [
        ("GRAPH", 1),
        ("BATCHES", 2),
        ("LABELLED_BATCHES", 3),
        ("MONITOR", 4),
        ("COLLECT", 5),
        ("EVALUATION", 6),
        ("CLASSIFICATION", 7),
        ("SAMPLES", 8),
    ]


def test_no_images_are_no_error():
    drawn = views.latents(trained_toy(), toy.ENGINE, np.zeros((0, toy.X_DIM), np.uint8), np.zeros(0, np.int64), SEED)
    assert (drawn.z["z1"].shape, drawn.y.shape, drawn.z["z2"].shape) == ((0, 2), (0,), (0, 2))


@pytest.mark.parametrize("classes", [-1, 3, [0, 1, 2, 3, 0, 1, 2]], ids=str)
def test_a_class_that_the_model_has_not_is_refused(classes):
    with pytest.raises(UserError, match="clusters 0 to 2; give one of them"):
        views.mesh(trained_toy(), toy.ENGINE, np.zeros((N, 2)), classes, SEED)


def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match=r"needs \(N, 2\)"):
        views.mesh(trained_toy(), toy.ENGINE, np.zeros((N, 3)), 0, SEED)
