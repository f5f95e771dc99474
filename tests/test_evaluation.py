"""The numbers of a record: classifiers, collected statistics, subsets, pictures; and whole runs with every option."""

import numpy as np
import pytest
import theano
import theano.tensor as T
from lasagne.layers import get_output
from PIL import Image

from parmesan_cagem import classification, evaluation, objectives, sampling
from parmesan_cagem.classification import Classification, classify
from parmesan_cagem.collect import ROWS, collect_statistics
from parmesan_cagem.config import experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.data.labels import indices_sha256
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.errors import UserError
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.partition import evaluated, partition
from parmesan_cagem.randomness import Purpose, noise
from parmesan_cagem.report.figures import save_grid

D, K = 9, 3  # pixels of a toy image, clusters
TOY = {"labels": 0, "clusters": K, "wide": 6, "narrow": 5, "z1_dim": 3, "z2_dim": 2, "class_draws": 4, "eval_seed": 3}


def engine():
    return TheanoC(mode="FAST_COMPILE")


def toy(**changes):
    """An experiment and a model whose every parameter is far from its initial value."""
    e = experiment("smoke", **{**TOY, **changes})
    model = CaGeM(e, D)
    rng = np.random.default_rng(5)
    scales = {"log_sigma": 0.02, "p_y.logits": 2.0}  # sigma around 1, not 1e9; clusters that differ
    for parameter in model.params():
        value = parameter.get_value()
        if parameter.name.endswith("variance"):
            value = rng.uniform(0.5, 2, value.shape)
        else:
            scale = next((scale for part, scale in scales.items() if part in parameter.name), 0.5)
            value = value + scale * rng.standard_normal(value.shape)
        parameter.set_value(value.astype(np.float32))
    return e, model


@pytest.fixture(scope="module")
def trained():
    return toy()


def toy_images(count):
    return (np.random.default_rng(1).random((count, D)) < 0.4).astype(np.uint8)


# Classifiers


@pytest.fixture(scope="module")
def classes(trained):
    e, model = trained
    places = np.array([4, 0, 17, 9, 100, 33, 2])
    return places, toy_images(7), classify(model, e, engine(), toy_images(7), places)


def test_probabilities_are_averages_over_draws(trained, classes):
    e, model = trained
    places, images, result = classes
    x, eps_1, eps_2 = T.matrix(), T.matrix(), T.matrix()
    terms = objectives.log_terms(model, x, eps_1, eps_2, RunningStatistics())
    outputs = [terms.q_y, terms.p_y_all, terms.mu_z1, terms.mu_z2]
    function = theano.function([x, eps_1, eps_2], outputs, mode="FAST_COMPILE", on_unused_input="ignore")
    for i, place in enumerate(places):
        eps = noise(e.eval_seed, Purpose.CLASSIFICATION, int(place)).standard_normal((4, 3 + K * 2), dtype=np.float32)
        sums = np.zeros(K), np.zeros(K), 0.0, np.zeros(3), np.zeros(2)
        for draw in eps:
            row = images[i : i + 1].astype(np.float32)
            log_q, log_p, mu_1, mu_2 = (
                v[0].astype(float) for v in function(row, draw[None, :3], draw[3:].reshape(K, 2))
            )
            q, p = np.exp(log_q), np.exp(log_p)  # (K,), (K, K): p[c] = p(.|z2^c)
            values = q, sum(q[c] * p[c] for c in range(K)), sum(q[c] * log_p[c, c] for c in range(K)), mu_1, q @ mu_2
            sums = tuple(total + value / 4 for total, value in zip(sums, values, strict=True))
        given = result.q_y, result.p_y, result.expected_log_p_y, result.mu_z1, result.mu_z2
        for one, other in zip(given, sums, strict=True):
            assert np.allclose(one[i], other, rtol=1e-5, atol=1e-6)
    assert result.q_y.std(axis=0).min() > 0.01  # neither the images nor the classes are all alike
    assert np.allclose(result.q_y.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(result.p_y.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 4, 9, 1000])
def test_the_size_of_a_call_does_not_matter(rows, trained, classes):
    e, model = trained
    places, images, expected = classes
    given = classify(model, e, engine(), images, places, rows=rows)
    for name in ("q_y", "p_y", "expected_log_p_y", "mu_z1", "mu_z2"):
        assert np.allclose(getattr(given, name), getattr(expected, name), rtol=1e-5, atol=1e-6), name


def test_an_image_gives_the_same_in_a_subset(trained, classes):
    e, model = trained
    places, images, expected = classes
    some = [5, 2]
    given = classify(model, e, engine(), images[some], places[some])
    assert np.allclose(given.q_y, expected.q_y[some], rtol=1e-5, atol=1e-6)
    assert np.allclose(given.mu_z2, expected.mu_z2[some], rtol=1e-5, atol=1e-6)


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


def by_hand(q_y, p_y=None, mu_z1=None, mu_z2=None):
    q_y = np.asarray(q_y, float)
    none = np.zeros((len(q_y), 1))
    return Classification(
        q_y,
        q_y if p_y is None else np.asarray(p_y, float),
        none[:, 0],
        *(none if m is None else m for m in (mu_z1, mu_z2)),
    )


def test_errors_cross_entropies_and_usage_by_hand():
    q = [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.4, 0.35, 0.25], [0.0, 0.0, 1.0]]
    p = [[0.2, 0.3, 0.5], [0.3, 0.4, 0.3], [0.1, 0.6, 0.3], [1.0, 0.0, 0.0]]
    labels = np.array([0, 1, 1, 2])
    result = by_hand(q, p)
    assert result.error("q_y", labels) == 25.0
    assert result.error("p_y", labels) == 50.0
    assert result.cross_entropy("q_y", labels) == pytest.approx(-np.log([0.5, 0.8, 0.35, 1.0]).mean())
    tiny = np.finfo(np.float32).tiny  # a probability of 0 costs 87 nats, not infinitely many
    assert result.cross_entropy("p_y", labels) == pytest.approx(-np.log([0.2, 0.4, 0.6, tiny]).mean())
    assert result.usage() == pytest.approx([0.25, 0.3625, 0.3875])


def test_active_units_by_hand():
    swing = np.tile([-1.0, 1.0], 50)[:, None]  # variance 1
    mu_z1 = swing * np.sqrt([0.0, 0.0099, 0.0101, 4.0]) + [0.0, 0.0, 0.0, 50.0]
    mu_z2 = swing * np.sqrt([0.009, 0.5]) + 7.0
    result = by_hand(np.ones((100, 1)), mu_z1=mu_z1, mu_z2=mu_z2)
    assert result.active_units() == {"z1": 2, "z2": 1}
    assert classification.ACTIVE_VARIANCE == 0.01


# Collected statistics


def rows_of(model, layer, weighted):
    """A function from (x, eps_z1, eps_z2) to the input of a batch-norm layer, and the weights of its rows."""
    x, eps_1, eps_2 = T.matrix(), T.matrix(), T.matrix()
    known = {model.x: x, model.eps_z1: eps_1, model.eps_z2: eps_2}
    incoming = get_output(layer.input_layers[0], known, statistics=RunningStatistics())
    outputs = [incoming]
    if weighted:
        outputs.append(get_output(layer.input_layers[1], known, statistics=RunningStatistics()))
    return theano.function([x, eps_1, eps_2], outputs, mode="FAST_COMPILE", on_unused_input="ignore")


@pytest.mark.parametrize("class_bn", ["uniform", "q"])
def test_collected_statistics_are_those_of_all_images(class_bn):
    e, model = toy(class_bn=class_bn)
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
            eps_1 = draws.standard_normal((len(x), 3), dtype=np.float32)
            blocks.append(function(x, eps_1, draws.standard_normal((len(x) * K, 2), dtype=np.float32)))
        rows = np.concatenate([block[0] for block in blocks]).astype(float)
        share = np.ones(len(rows))
        if weighted:
            logits = np.concatenate([block[1] for block in blocks]).astype(float)
            share = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).ravel()
        mean = np.average(rows, axis=0, weights=share)
        variance = np.average((rows - mean) ** 2, axis=0, weights=share)
        assert len(rows) in (count, count * K)
        assert np.allclose(layer.running_mean.get_value(), mean, rtol=1e-3, atol=1e-4), layer.name
        assert np.allclose(layer.running_variance.get_value(), variance, rtol=1e-3, atol=1e-4), layer.name
    assert sum(len(layer.input_layers) == 2 for layer in model.batch_norms) == (8 if class_bn == "q" else 0)
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


# Whole evaluations of a toy set


@pytest.fixture(scope="module")
def toy_data():
    rng = np.random.default_rng(8)
    labels = np.repeat(np.arange(10), [30, 30, 20, 20, 20, 20, 20, 15, 15, 10])
    train, test = rng.permutation(labels), rng.permutation(labels)
    pixels = rng.integers(0, 256, (2, 200, D)).astype(np.uint8)
    return Dataset("mnist", 10, pixels[0], train, pixels[1], test, source="toy", sha256="0" * 64)


def evaluate_toy(toy_data, trained, **changes):
    settings = {**TOY, "iw_samples": 10, "eval_images": 40, "train_images": 100, "batch_size": 10, **changes}
    e = experiment("smoke", **settings)
    _, model = trained
    result = evaluation.evaluate(model, e, toy_data, partition(toy_data, e), engine(), quiet=True)
    return result, evaluation.record_fields(result, e, toy_data.test_labels)


@pytest.fixture(scope="module")
def full(toy_data, trained):
    return evaluate_toy(toy_data, trained, eval_images=0)


def test_a_subset_is_stratified_seeded_and_told(toy_data, trained, full):
    result, fields = evaluate_toy(toy_data, trained)
    shares = np.bincount(toy_data.test_labels[result.indices])
    assert shares.tolist() == [6, 6, 4, 4, 4, 4, 4, 3, 3, 2]
    assert (fields["eval"]["images"], fields["eval"]["error_images"]) == (40, 200)
    assert fields["eval"]["indices_sha256"] == indices_sha256(result.indices)
    again, _ = evaluate_toy(toy_data, trained)
    assert np.array_equal(again.indices, result.indices)
    other, other_fields = evaluate_toy(toy_data, trained, eval_seed=4)
    assert not np.array_equal(other.indices, result.indices)
    assert other_fields["eval"]["indices_sha256"] != fields["eval"]["indices_sha256"]
    # Not the first ones; and each image has the number that it has in the full set.
    assert result.indices.max() > 100
    for name, values in result.bounds.bounds.items():
        assert np.allclose(values, full[0].bounds.bounds[name][result.indices], rtol=1e-5, atol=1e-4), name


def test_the_fields_are_the_means_of_the_images(toy_data, full):
    result, fields = full
    for name, values in result.bounds.bounds.items():
        assert fields["bounds"][name]["mean"] == pytest.approx(values.mean())
        assert fields["bounds"][name]["standard_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(200))
    assert set(fields["bounds"]) == {"F_1", "F_1_marginal", "F_10"}
    terms = fields["terms"]
    total = terms["reconstruction"] - terms["KL_z1"] - terms["KL_z2_sampled"] - terms["KL_y"]
    assert total == pytest.approx(fields["bounds"]["F_1"]["mean"], rel=1e-5)
    assert terms["KL_z2"] == pytest.approx(terms["KL_z2_sampled"], abs=0.3)  # analytic: up to noise of 2,000 draws
    assert fields["error_q"] is None
    assert fields["test"]["H_q"] is None
    assert fields["test"]["expected_log_p_y"] == pytest.approx(result.classes.expected_log_p_y.mean())
    assert sum(fields["cluster_usage"]) == pytest.approx(1, abs=1e-5)


def test_the_test_set_is_binarised_once_from_its_seed(toy_data, trained, monkeypatch):
    seen = {}

    def bounds(model, e, engine, images, indices, quiet):
        seen["bounds"] = images, indices
        raise KeyError

    monkeypatch.setattr(evaluation, "importance_bounds", bounds)
    with pytest.raises(KeyError):
        evaluate_toy(toy_data, trained)
    images, indices = seen["bounds"]
    assert np.array_equal(images, binarize(toy_data.test_images, 256.0, TOY["eval_seed"])[indices])


def test_collected_statistics_are_used_when_asked_for(toy_data):
    means = {}
    for mode in ("ema", "collect"):
        e, model = toy(bn_eval=mode)
        before = model.batch_norms[0].running_mean.get_value()
        _, fields = evaluate_toy(toy_data, (e, model), bn_eval=mode)
        assert fields["eval"]["bn_mode"] == mode
        unchanged = np.array_equal(model.batch_norms[0].running_mean.get_value(), before)
        assert unchanged == (mode == "ema")
        means[mode] = fields["bounds"]["F_10"]["mean"]
    # Collected over the unlabelled training images, before anything is evaluated.
    used = partition(toy_data, experiment("smoke", labels=0, train_images=100, batch_size=10)).unlabelled
    binary = binarize(toy_data.train_images[used], 256.0, TOY["eval_seed"], used)
    weights = next(p for p in model.params() if p.name == "q_z1.edge_x.W").get_value()
    collected = model.batch_norms[0].running_mean.get_value()
    assert np.allclose(collected, (binary @ weights.astype(float)).mean(axis=0), rtol=1e-4, atol=1e-5)
    assert abs(means["ema"] - means["collect"]) > 0.1


def test_the_subset_must_fit_the_test_set(toy_data):
    assert len(evaluated(toy_data, experiment("smoke", eval_images=200))) == 200
    assert np.array_equal(evaluated(toy_data, experiment("smoke", eval_images=0)), np.arange(200))
    with pytest.raises(UserError, match=r"--eval-images 201: .*200"):
        evaluated(toy_data, experiment("smoke", eval_images=201))


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
    e, model = toy()
    edge = next(p for p in model.params() if p.name == "p_x.edge_z1.W")
    edge.set_value(0 * edge.get_value())  # p(x|y,z1) then depends on y alone
    images = sampling.class_conditional(model, e, engine(), 4, seed=1)
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
    e, model = trained
    one, again, other = (sampling.class_conditional(model, e, engine(), 5, seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert len(np.unique(one.reshape(-1, D), axis=0)) == K * 5
    assert np.abs(one.mean(axis=1)[0] - one.mean(axis=1)[1]).max() > 0.01


def test_the_z2_of_a_class_are_drawn_from_p_z2_given_y(trained):
    e, model = trained
    recorder = Recorder()
    sampling.class_conditional(model, e, recorder, 400, seed=1)
    (_, z2, _), (candidates,) = recorder.calls["p(x|y,z1), z1 ~ p(z1|y,z2)"], recorder.calls["p(y|z2)"]
    given = T.matrix()
    logits = get_output(model.p_y, {model.z2: given}, statistics=RunningStatistics(), classes="given")
    p_y = theano.function([given], T.nnet.softmax(logits), mode="FAST_COMPILE")
    prior = p_y(candidates).astype(float)  # (1000, K)
    for c in range(K):
        # Under p(z2|y) the mean of p(y|z2) is E[p^2]/E[p] over the prior.
        expected = (prior[:, c] ** 2).mean() / prior[:, c].mean()
        assert p_y(z2[400 * c : 400 * (c + 1)])[:, c].mean() == pytest.approx(expected, abs=0.06)
        assert expected > prior[:, c].mean() + 0.05  # or the test could not fail


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
