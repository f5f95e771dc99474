"""An evaluation's fields of a record from results that no model made, and who is asked for what on the way."""

import dataclasses
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from parmesan_cagem import evaluation
from parmesan_cagem.bounds import Bounds
from parmesan_cagem.classification import Classification
from parmesan_cagem.config import experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.ledger import Ledger

N, CLASSES, K = 5, 3, 4
LABELS = np.array([0, 1, 2, 1, 0])
INDICES = np.array([1, 3, 4])


def toy_data():
    pixels = np.random.default_rng(2).integers(0, 256, (2, N, 6)).astype(np.uint8)
    return Dataset("mnist", CLASSES, pixels[0], LABELS, pixels[1], LABELS, source="made", sha256="0" * 64)


def settings(**changes):
    return experiment("smoke", **{"labels": 0, "eval_seed": 7, "eval_seeds": 2, "iw_samples": 10, **changes})


def made(classifiers=("q", "p"), terms=("reconstruction", "KL_y")):
    """Two seeds' results of five images, three of them with bounds."""
    rng = np.random.default_rng(3)

    def classes(seconds):
        probabilities = {name: rng.dirichlet(np.ones(K), N) for name in classifiers}
        mu = {"z1": rng.normal(size=(N, 2)) * [1, 0.01]}
        return Classification(probabilities, rng.normal(size=N) if classifiers else None, mu, seconds)

    def bounds(seconds):
        values = {name: rng.normal(size=3) for name in ("F_1", "F_10")}
        return Bounds(values, {name: rng.normal(size=3) for name in terms}, seconds)

    return evaluation.Evaluation((7, 8), INDICES, (bounds(1.0), bounds(2.0)), (classes(4.0), classes(8.0)))


def fields_of(result, **changes):
    return evaluation.record_fields(result, settings(**changes), toy_data())


def test_how_it_was_evaluated_is_told():
    e = settings(estimator="sampled", bn_eval="collect", class_draws=17)
    fields = evaluation.record_fields(made(), e, toy_data())["eval"]
    assert fields == {
        "images": 3,
        "indices_sha256": hashlib.sha256(INDICES.astype("<i8").tobytes()).hexdigest(),
        "binarisation": "once for each seed",
        "seeds": [7, 8],
        "estimator": "sampled",
        "bn_mode": "collect",
        "k": 10,
        "draws_for_errors": 17,
        "error_images": 5,
        "seconds": 15.0,
    }


def test_bounds_and_terms_are_means_over_seeds_and_images():
    result = made()
    fields = fields_of(result)
    assert set(fields["bounds"]) == {"F_1", "F_10"}
    for name, told in fields["bounds"].items():
        one, other = (bounds.bounds[name] for bounds in result.bounds)
        each = [(a + b) / 2 for a, b in zip(one, other, strict=True)]
        mean = sum(each) / 3
        variance = sum((value - mean) ** 2 for value in each) / 2
        assert told == {
            "mean": pytest.approx(mean),
            "standard_error": pytest.approx((variance / 3) ** 0.5),
            "by_seed": [pytest.approx(one.sum() / 3), pytest.approx(other.sum() / 3)],
        }
    expected = {
        name: sum(bounds.terms[name].sum() for bounds in result.bounds) / 6 for name in ("reconstruction", "KL_y")
    }
    assert fields["terms"] == pytest.approx(expected)


def test_one_seed_is_enough():
    both = made()
    one = evaluation.Evaluation((7,), INDICES, both.bounds[:1], both.classes[:1])
    fields = fields_of(one, eval_seeds=1)
    assert fields["eval"]["seeds"] == [7]
    assert fields["eval"]["seconds"] == 5.0
    assert fields["bounds"]["F_1"]["mean"] == pytest.approx(both.bounds[0].bounds["F_1"].mean())
    assert fields["cluster_usage"] == pytest.approx(both.classes[0].classifiers["q"].mean(axis=0).tolist())


def test_one_image_has_no_standard_error():
    assert evaluation.mean_and_error([np.array([3.0]), np.array([4.0])]) == {
        "mean": 3.5,
        "standard_error": None,
        "by_seed": [3.0, 4.0],
    }
    two = evaluation.mean_and_error([np.array([3.0, 5.0])])
    assert two == {"mean": 4.0, "standard_error": pytest.approx(1.0), "by_seed": [4.0]}


def test_without_terms_there_are_none():
    assert fields_of(made(terms=()))["terms"] is None


@pytest.mark.parametrize("which", ["q", "p"])
def test_errors_and_entropies_are_means_over_seeds(which):
    result = made()
    fields = fields_of(result, labels=10)
    wrong, entropy = [], []
    for one in result.classes:
        for label, row in zip(LABELS, one.classifiers[which], strict=True):
            wrong.append(max(range(K), key=lambda k, row=row: row[k]) != label)
            entropy.append(-np.log(row[label]))
    assert fields[f"error_{which}"] == pytest.approx(100 * sum(wrong) / 10)
    assert fields["test"][f"H_{which}"] == pytest.approx(sum(entropy) / 10)
    assert isinstance(fields[f"error_{which}"], float)


def test_an_error_needs_labels_and_a_classifier():
    unlabelled, lacking = fields_of(made()), fields_of(made(classifiers=("q",)), labels=10)
    for name, value in (("error_q", unlabelled["error_q"]), ("H_p", unlabelled["test"]["H_p"])):
        assert value is None, name
    assert (lacking["error_p"], lacking["test"]["H_p"]) == (None, None)
    assert lacking["error_q"] is not None
    assert lacking["test"]["H_q"] is not None


def test_what_the_classifiers_say_without_labels():
    result = made()
    fields = fields_of(result)
    assert fields["test"]["expected_log_p_y"] == pytest.approx(
        sum(one.expected_log_p_y.sum() for one in result.classes) / 10
    )
    usage = sum(one.classifiers["q"].sum(axis=0) for one in result.classes) / 10
    assert fields["cluster_usage"] == pytest.approx(usage.tolist())
    for name in ("q", "p"):
        table = [[0] * K for _ in range(CLASSES)]
        for one in result.classes:
            for label, row in zip(LABELS, one.classifiers[name], strict=True):
                table[label][int(np.argmax(row))] += 1
        assert fields["confusion"][name] == table
    assert list(fields["confusion"]) == ["q", "p"]
    columns = np.array(fields["confusion"]["q"]).T.tolist()
    assert fields["clustering"]["purity"] == pytest.approx(sum(map(max, columns)) / 10)
    assert fields["active_units"] == {"z1": 1}  # of the first seed


def test_a_model_without_classifiers_has_none_of_it():
    fields = fields_of(made(classifiers=()))
    assert fields["test"] == {"H_q": None, "H_p": None, "expected_log_p_y": None}
    assert [fields[name] for name in ("cluster_usage", "clustering", "confusion")] == [[], None, None]


# Who is asked for what


@pytest.fixture
def asked(monkeypatch):
    """The calls of the three that compute, in order; each gives its number."""
    calls = []

    def stand_in(name):
        def call(*arguments, **options):
            calls.append((name, arguments, options))
            return f"{name} {len(calls)}"

        monkeypatch.setattr(evaluation, name, call)

    for name in ("collect_statistics", "importance_bounds", "classify"):
        stand_in(name)
    return calls


def evaluate(e, **options):
    data, parts = toy_data(), SimpleNamespace(unlabelled=np.array([0, 2, 4]))
    return data, evaluation.evaluate("model", e, data, parts, "engine", **options)


@pytest.mark.parametrize(("options", "quiet"), [({}, False), ({"quiet": True}, True)])
def test_every_seed_is_evaluated_on_its_own_binary_images(asked, options, quiet):
    ledger = Ledger()
    e = settings(eval_images=3, pixel_scale=256.0)
    data, found = evaluate(e, ledger=ledger, **options)
    assert found.seeds == (7, 8)
    assert (found.bounds, found.classes) == (
        ("importance_bounds 1", "importance_bounds 3"),
        ("classify 2", "classify 4"),
    )
    assert [name for name, *_ in asked] == ["importance_bounds", "classify"] * 2
    for number, (name, arguments, given) in enumerate(asked):
        seed = 7 + number // 2
        model, one, engine, images, indices, told = arguments
        places = found.indices if name == "importance_bounds" else np.arange(N)
        assert (model, engine, told) == ("model", "engine", quiet)
        assert given == {"ledger": ledger}
        assert given["ledger"] is ledger
        assert one == dataclasses.replace(e, eval_seed=seed, eval_seeds=1)
        assert np.array_equal(indices, places)
        assert np.array_equal(images, binarize(data.test_images, 256.0, seed)[places])
    assert len(found.indices) == 3


def test_all_test_images_have_bounds_where_no_number_is_given(asked):
    _, found = evaluate(settings(eval_images=0, eval_seeds=1))
    assert found.indices.tolist() == [0, 1, 2, 3, 4]
    assert isinstance(asked[0][2]["ledger"], Ledger)  # one that forgets, where none is given
    assert asked[0][2]["ledger"] is asked[1][2]["ledger"]


def test_statistics_are_collected_anew_for_every_seed_before_its_numbers(asked):
    ledger = Ledger()
    e = settings(eval_images=3, bn_eval="collect")
    data, _ = evaluate(e, ledger=ledger, quiet=True)
    assert [name for name, *_ in asked] == ["collect_statistics", "importance_bounds", "classify"] * 2
    for seed, (_, arguments, options) in zip((7, 8), asked[::3], strict=True):
        model, one, engine, images, places, quiet, kept = arguments
        assert (model, engine, quiet, options) == ("model", "engine", True, {})
        assert kept is ledger
        assert one == dataclasses.replace(e, eval_seed=seed, eval_seeds=1)
        assert places.tolist() == [0, 2, 4]
        assert np.array_equal(images, data.train_images[places])
