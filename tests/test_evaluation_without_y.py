"""Evaluation of models without y: bounds from an independent forward pass, a record whose classes are empty."""

import functools

import numpy as np
import pytest
from record_example import example
from scipy.special import logsumexp
from toy_evaluation import engine, evaluate_toy, toy, toy_dataset, toy_images
from vae_oracle import VAEOracle

from parmesan_cagem import records
from parmesan_cagem.bounds import importance_bounds
from parmesan_cagem.classification import classify
from parmesan_cagem.randomness import Purpose, noise

PLACES = np.array([4, 0, 17, 9])
LAYERS = [1, 2]
UNITS = (3, 2)


def drawn(e, purpose, place, count):
    """The noise of an image, (count, units) of every variable."""
    eps = noise(e.eval_seed, purpose, int(place)).standard_normal((count, sum(UNITS[: e.layers])), dtype=np.float32)
    return np.split(eps.astype(float), [UNITS[0]], axis=1)[: e.layers]


@functools.cache
def bounds_of(layers):
    """Of four images with k = 20, and the terms of the oracle, (4, 20) each."""
    e, model = toy(model="vae", layers=layers, iw_samples=20)
    images, oracle = toy_images(4), VAEOracle(model)
    found = importance_bounds(model, e, engine(), images, PLACES)
    rows = [
        oracle.terms(np.repeat(image[None].astype(float), 20, axis=0), drawn(e, Purpose.EVALUATION, place, 20))[1]
        for image, place in zip(images, PLACES, strict=True)
    ]
    return found, {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("layers", LAYERS)
def test_bounds_are_those_of_the_log_weights(layers):
    found, expected = bounds_of(layers)
    log_w = expected["log w"]
    assert log_w.std(axis=1).min() > 0.5  # or every k would give the same
    assert list(found.bounds) == ["F_1", "F_1_marginal", "F_10", "F_20"]
    assert found.bounds["F_1"] == pytest.approx(log_w.mean(axis=1), rel=1e-5)
    halves = logsumexp(log_w.reshape(4, 2, 10), axis=2) - np.log(10)
    assert found.bounds["F_10"] == pytest.approx(halves.mean(axis=1), rel=1e-5)
    assert found.bounds["F_20"] == pytest.approx(logsumexp(log_w, axis=1) - np.log(20), rel=1e-5)


@pytest.mark.parametrize("layers", LAYERS)
def test_without_a_class_the_marginal_of_one_draw_is_f(layers):
    bounds = bounds_of(layers)[0].bounds
    assert bounds["F_1_marginal"] == pytest.approx(bounds["F_1"], rel=1e-6)


@pytest.mark.parametrize("layers", LAYERS)
def test_terms_are_the_oracles_and_add_up_to_f(layers):
    found, expected = bounds_of(layers)
    names = {1: ["KL_z1", "KL_z1_sampled"], 2: ["KL_z1", "KL_z2", "KL_z2_sampled"]}[layers]
    assert list(found.terms) == ["reconstruction", *names]
    for name, values in found.terms.items():
        assert values == pytest.approx(expected[name].mean(axis=1), rel=1e-4, abs=1e-4), name
    exact = ["KL_z1_sampled"] if layers == 1 else ["KL_z1", "KL_z2_sampled"]
    total = found.terms["reconstruction"] - sum(found.terms[name] for name in exact)
    assert total == pytest.approx(found.bounds["F_1"], rel=1e-5)
    analytic, sampled = (expected[name] for name in names[-2:])
    assert np.abs(analytic - sampled).max() > 0.1  # the two are not one


@pytest.mark.parametrize("layers", LAYERS)
def test_only_posterior_means_are_averaged_over_draws(layers):
    e, model = toy(model="vae", layers=layers)
    images, oracle = toy_images(4), VAEOracle(model)
    found = classify(model, e, engine(), images, PLACES)
    assert (found.classifiers, found.expected_log_p_y) == ({}, None)
    assert list(found.mu) == ["z1", "z2"][:layers]
    for i, (image, place) in enumerate(zip(images, PLACES, strict=True)):
        x = np.repeat(image[None].astype(float), e.class_draws, axis=0)
        means, _ = oracle.terms(x, drawn(e, Purpose.CLASSIFICATION, place, e.class_draws))
        for mu, expected in zip(found.mu.values(), means, strict=True):
            assert mu[i] == pytest.approx(expected.mean(axis=0), rel=1e-4, abs=1e-5)
    assert all(mu.std(axis=0).max() > 0.01 for mu in found.mu.values())


# The record


@pytest.fixture(scope="module")
def toy_data():
    return toy_dataset()


@pytest.mark.parametrize(("name", "settings"), [("vae", {}), ("vae", {"layers": 1}), ("iwae", {"train_iw": 5})])
def test_the_record_has_no_classes_and_is_valid(toy_data, name, settings):
    e, model = toy(model=name, **settings)
    result, fields = evaluate_toy(toy_data, (e, model), model=name, eval_seeds=2, **settings)
    variables = ["z1", "z2"][: e.layers]
    classes = ("error_q", "error_p", "cluster_usage", "clustering", "confusion")
    assert [fields[key] for key in classes] == [None, None, [], None, None]
    assert fields["test"] == {"H_q": None, "H_p": None, "expected_log_p_y": None}
    assert fields["active_units"] == result.classes[0].active_units()
    assert list(fields["active_units"]) == variables
    assert fields["active_units"]["z1"] > 0
    assert fields["terms"]["KL_z1"] == pytest.approx(np.mean([one.terms["KL_z1"] for one in result.bounds]))

    record = example()
    record["model"] = name
    record["dataset"]["labelled"] = 0
    for key in ("bounds", "terms", "test", "active_units", *classes):
        record[key] = fields[key]
    record["eval"]["k"] = e.iw_samples
    records.validate(record)


def test_statistics_collected_for_a_vae_are_used(toy_data):
    found = {}
    for mode in ("ema", "collect"):
        e, model = toy(model="vae", bn_eval=mode)
        _, fields = evaluate_toy(toy_data, (e, model), model="vae", bn_eval=mode)
        found[mode] = fields["bounds"]["F_10"]["mean"]
    assert abs(found["ema"] - found["collect"]) > 0.1
