"""The classifiers averaged over draws, and statistics collected over the training set."""

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import get_output
from scipy.special import log_softmax
from toy_evaluation import D, K, engine, toy, toy_images

from parmesan_cagem import classification
from parmesan_cagem.classification import Classification, classify
from parmesan_cagem.collect import ROWS, collect_statistics
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.randomness import Purpose, noise


@pytest.fixture(scope="module")
def trained():
    return toy()


# Classifiers


@pytest.fixture(scope="module")
def classes(trained):
    e, model = trained
    places = np.array([4, 0, 17, 9, 100, 33, 2])
    return places, toy_images(7), classify(model, e, engine(), toy_images(7), places)


def parts(result):
    """Everything of a result, by images."""
    assert (list(result.classifiers), list(result.mu)) == (["q", "p"], ["z1", "z2"])
    return [*result.classifiers.values(), result.expected_log_p_y, *result.mu.values()]


def test_probabilities_are_averages_over_draws(trained, classes):
    e, model = trained
    places, images, result = classes
    x, eps_1, eps_2 = T.matrix(), T.matrix(), T.matrix()
    of = model.terms(x, [eps_1, eps_2], RunningStatistics()).latents
    p_logits = model.class_logits(of["z2"].z.reshape((K, 2)), RunningStatistics())  # of one image's K z2
    outputs = [of["y"].log_q[0], p_logits, of["z1"].mu[0], of["z2"].mu[0]]
    function = theano.function([x, eps_1, eps_2], outputs, mode="FAST_COMPILE", on_unused_input="ignore")
    for i, place in enumerate(places):
        eps = noise(e.eval_seed, Purpose.CLASSIFICATION, int(place)).standard_normal((4, 3 + K * 2), dtype=np.float32)
        sums = np.zeros(K), np.zeros(K), 0.0, np.zeros(3), np.zeros(2)
        for draw in eps:
            row = images[i : i + 1].astype(np.float32)
            found = function(row, draw[None, :3], draw[3:].reshape(K, 2))
            log_q, logits, mu_1, mu_2 = (value.astype(float) for value in found)
            log_p = log_softmax(logits, axis=1)
            q, p = np.exp(log_q), np.exp(log_p)  # (K,), (K, K): p[c] = p(.|z2^c)
            values = q, sum(q[c] * p[c] for c in range(K)), sum(q[c] * log_p[c, c] for c in range(K)), mu_1, q @ mu_2
            sums = tuple(total + value / 4 for total, value in zip(sums, values, strict=True))
        for one, other in zip(parts(result), sums, strict=True):
            assert np.allclose(one[i], other, rtol=1e-5, atol=1e-6)
    assert result.classifiers["q"].std(axis=0).min() > 0.01  # neither the images nor the classes are all alike
    for probabilities in result.classifiers.values():
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 4, 9, 1000])
def test_the_size_of_a_call_does_not_matter(rows, trained, classes):
    e, model = trained
    places, images, expected = classes
    given = classify(model, e, engine(), images, places, rows=rows)
    for one, other in zip(parts(given), parts(expected), strict=True):
        assert np.allclose(one, other, rtol=1e-5, atol=1e-6)


def test_an_image_gives_the_same_in_a_subset(trained, classes):
    e, model = trained
    places, images, expected = classes
    some = [5, 2]
    given = classify(model, e, engine(), images[some], places[some])
    for one, other in zip(parts(given), parts(expected), strict=True):
        assert np.allclose(one, other[some], rtol=1e-5, atol=1e-6)


def test_nan_is_never_averaged_away(trained):
    class Spoilt:
        name, rows_per_call = "c", 5000

        def function(self, inputs, outputs, name):
            call = engine().function(inputs, outputs, name)

            def spoilt(*values):
                (result,) = call(*values)
                result[9, 2] = np.nan  # the second draw of the third image
                return [result]

            return spoilt

    e, model = trained
    with pytest.raises(FloatingPointError, match="test image 17 "):
        classify(model, e, Spoilt(), toy_images(3), np.array([4, 0, 17]))


def by_hand(q, p=None, mu=None):
    classifiers = {"q": np.asarray(q, float)} | ({} if p is None else {"p": np.asarray(p, float)})
    return Classification(classifiers, np.zeros(len(q)), mu or {})


def test_errors_cross_entropies_and_usage_by_hand():
    q = [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.4, 0.35, 0.25], [0.0, 0.0, 1.0]]
    p = [[0.2, 0.3, 0.5], [0.3, 0.4, 0.3], [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]]
    labels = np.array([0, 1, 1, 2])
    result = by_hand(q, p)
    assert result.error("q", labels) == 25.0
    assert result.error("p", labels) == 50.0
    assert result.cross_entropy("q", labels) == pytest.approx(-np.log([0.5, 0.8, 0.35, 1.0]).mean())
    tiny = np.finfo(np.float32).tiny  # a probability of 0 costs 87 nats, not infinitely many
    assert result.cross_entropy("p", labels) == pytest.approx(-np.log([0.2, 0.4, 0.6, tiny]).mean())
    assert result.usage() == pytest.approx([0.25, 0.3625, 0.3875])


def test_active_units_by_hand():
    swing = np.tile([-1.0, 1.0], 50)[:, None]  # variance 1
    mu_z1 = swing * np.sqrt([0.0, 0.0099, 0.0101, 4.0]) + [0.0, 0.0, 0.0, 50.0]
    mu_z2 = swing * np.sqrt([0.009, 0.5]) + 7.0
    result = by_hand(np.ones((100, 1)), mu={"z1": mu_z1, "z2": mu_z2})
    assert result.active_units() == {"z1": 2, "z2": 1}
    assert classification.ACTIVE_VARIANCE == 0.01


# Collected statistics


def rows_of(model, layer, weighted):
    """A function from x and all noise to the input of a batch-norm layer, and the weights of its rows."""
    x, eps = T.matrix(), [T.matrix() for _ in model.variables]
    known = {model.x: x, **{v.eps: drawn for v, drawn in zip(model.variables, eps, strict=True)}}
    incoming = get_output(layer.input_layers[0], known, statistics=RunningStatistics())
    outputs = [incoming]
    if weighted:
        outputs.append(get_output(layer.input_layers[1], known, statistics=RunningStatistics()))
    return theano.function([x, *eps], outputs, mode="FAST_COMPILE", on_unused_input="ignore")


@pytest.mark.parametrize(
    ("settings", "weighted_layers", "all_layers"),
    [({}, 0, 12), ({"class_bn": "q"}, 8, 12), ({"model": "vae"}, 0, 8), ({"model": "vae", "layers": 1}, 0, 4)],
    ids=["CaGeM", "CaGeM, weighted", "VAE", "VAE of a layer"],
)
def test_collected_statistics_are_those_of_all_images(settings, weighted_layers, all_layers):
    e, model = toy(**settings)
    rng = np.random.default_rng(2)
    count = 2 * ROWS + 77
    images, places = rng.integers(0, 256, (count, D)).astype(np.uint8), np.sort(rng.permutation(5000)[:count])
    kept = {p.name: p.get_value() for p in model.params() if "running" not in p.name}
    collect_statistics(model, e, engine(), images, places)

    binary = binarize(images, e.pixel_scale, e.eval_seed, places).astype(np.float32)
    first = model.batch_norms[0]
    weights = next(p for p in model.params() if p.name == "q_z1.edge_x.W").get_value().astype(float)
    assert first.name == "q_z1.bn1"
    assert np.allclose(first.running_mean.get_value(), (binary @ weights).mean(axis=0), rtol=1e-4, atol=1e-5)
    assert np.allclose(first.running_variance.get_value(), (binary @ weights).var(axis=0), rtol=1e-4, atol=1e-5)

    # Every layer under the statistics that stand now: those before it were final when it was collected.
    for layer in model.batch_norms:
        weighted = len(layer.input_layers) == 2
        function, blocks = rows_of(model, layer, weighted), []
        for start in range(0, count, ROWS):
            x, draws = binary[start : start + ROWS], noise(e.eval_seed, Purpose.COLLECT, start)
            per_image = K if e.model == "cagem" else 1  # of the upper variable
            eps = [draws.standard_normal((len(x), 3), dtype=np.float32)]
            if e.model == "cagem" or e.layers == 2:
                eps.append(draws.standard_normal((len(x) * per_image, 2), dtype=np.float32))
            blocks.append(function(x, *eps))
        rows = np.concatenate([block[0] for block in blocks]).astype(float)
        share = np.ones(len(rows))
        if weighted:
            logits = np.concatenate([block[1] for block in blocks]).astype(float)
            share = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).ravel()
        mean = np.average(rows, axis=0, weights=share)
        variance = np.average((rows - mean) ** 2, axis=0, weights=share)
        assert len(rows) in (count, count * per_image)
        assert np.allclose(layer.running_mean.get_value(), mean, rtol=1e-3, atol=1e-4), layer.name
        assert np.allclose(layer.running_variance.get_value(), variance, rtol=1e-3, atol=1e-4), layer.name
    assert sum(len(layer.input_layers) == 2 for layer in model.batch_norms) == weighted_layers
    assert len(model.batch_norms) == all_layers
    assert all(np.array_equal(p.get_value(), kept[p.name]) for p in model.params() if p.name in kept)


def test_collecting_forgets_the_running_averages():
    results = []
    for start in (0.0, 100.0):
        e, model = toy()
        for layer in model.batch_norms:
            layer.running_mean.set_value(layer.running_mean.get_value() + np.float32(start))
        collect_statistics(model, e, engine(), toy_images(60) * 255, np.arange(60))
        results.append([layer.running_mean.get_value() for layer in model.batch_norms])
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)
        assert np.abs(one).max() < 50
