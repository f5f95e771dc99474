"""Whole evaluations of a toy set: the numbers of a record."""

import dataclasses

import numpy as np
import pytest
from toy_evaluation import TOY, K, evaluate_toy, toy, toy_dataset

from parmesan_cagem import evaluation
from parmesan_cagem.config import experiment
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.data.labels import indices_sha256
from parmesan_cagem.errors import UserError
from parmesan_cagem.partition import evaluated, judged, partition


@pytest.fixture(scope="module")
def trained():
    return toy()


# Whole evaluations of a toy set


@pytest.fixture(scope="module")
def toy_data():
    return toy_dataset()


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
    for name, values in result.bounds[0].bounds.items():
        assert np.allclose(values, full[0].bounds[0].bounds[name][result.indices], rtol=1e-5, atol=1e-4), name


def test_the_fields_are_the_means_of_the_images(toy_data, full):
    result, fields = full
    for name, values in result.bounds[0].bounds.items():
        assert fields["bounds"][name]["mean"] == pytest.approx(values.mean())
        assert fields["bounds"][name]["standard_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(200))
    assert set(fields["bounds"]) == {"F_1", "F_1_marginal", "F_10"}
    terms = fields["terms"]
    total = terms["reconstruction"] - terms["KL_z1"] - terms["KL_z2_sampled"] - terms["KL_y"]
    assert total == pytest.approx(fields["bounds"]["F_1"]["mean"], rel=1e-5)
    assert terms["KL_z2"] == pytest.approx(terms["KL_z2_sampled"], abs=0.3)  # analytic: up to noise of 2,000 draws
    assert fields["error_q"] is None
    assert fields["test"]["H_q"] is None
    assert fields["test"]["expected_log_p_y"] == pytest.approx(result.classes[0].expected_log_p_y.mean())
    assert sum(fields["cluster_usage"]) == pytest.approx(1, abs=1e-5)


def test_the_test_set_is_binarised_once_from_its_seed(toy_data, trained, monkeypatch):
    seen = {}

    def bounds(model, e, engine, images, indices, quiet, ledger):
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


def test_several_seeds_are_averaged_and_each_is_told(toy_data, trained):
    ones = [evaluate_toy(toy_data, trained, eval_seed=seed, eval_images=0)[1] for seed in (3, 4)]
    result, fields = evaluate_toy(toy_data, trained, eval_seeds=2, eval_images=0)
    assert fields["eval"]["seeds"] == [3, 4]
    for name, bound in fields["bounds"].items():
        alone = [one["bounds"][name]["mean"] for one in ones]
        assert bound["by_seed"] == pytest.approx(alone)
        assert bound["mean"] == pytest.approx(np.mean(alone))
        per_image = (result.bounds[0].bounds[name] + result.bounds[1].bounds[name]) / 2
        assert bound["standard_error"] == pytest.approx(per_image.std(ddof=1) / np.sqrt(200))
    assert ones[0]["bounds"]["F_10"]["mean"] != ones[1]["bounds"]["F_10"]["mean"]
    for name in ("terms", "active_units"):
        assert set(fields[name]) == set(ones[0][name])
    assert fields["terms"]["KL_z1"] == pytest.approx(np.mean([one["terms"]["KL_z1"] for one in ones]))
    assert fields["cluster_usage"] == pytest.approx(np.mean([one["cluster_usage"] for one in ones], axis=0))
    together = np.sum([one["confusion"]["p"] for one in ones], axis=0)
    assert fields["confusion"]["p"] == together.tolist()


def test_seeds_share_the_images_of_the_first(toy_data, trained):
    result, _ = evaluate_toy(toy_data, trained, eval_seeds=2)
    alone, _ = evaluate_toy(toy_data, trained)
    assert np.array_equal(result.indices, alone.indices)
    assert {len(one.bounds["F_10"]) for one in result.bounds} == {40}


def test_confusion_and_clusters_are_those_of_the_averaged_probabilities(toy_data, full):
    result, fields = full
    for name, probabilities in result.classes[0].classifiers.items():
        expected = [[0] * K for _ in range(10)]
        for label, row in zip(toy_data.test_labels, probabilities, strict=True):
            expected[label][int(np.argmax(row))] += 1
        assert fields["confusion"][name] == expected
    assert set(fields["confusion"]) == {"q", "p"}
    columns = np.array(fields["confusion"]["q"]).T
    assert fields["clustering"]["purity"] == pytest.approx(sum(max(c) for c in columns.tolist()) / 200)


def test_collected_statistics_are_those_of_each_seed(toy_data):
    settings = {"bn_eval": "collect", "eval_images": 0}
    ones = [evaluate_toy(toy_data, toy(), eval_seed=seed, **settings)[1] for seed in (3, 4)]
    _, both = evaluate_toy(toy_data, toy(), eval_seeds=2, **settings)
    for name, bound in both["bounds"].items():
        assert bound["by_seed"] == pytest.approx([one["bounds"][name]["mean"] for one in ones]), name


def test_held_out_images_stand_in_for_the_test_set_and_nothing_else_changes(toy_data):
    e = experiment("smoke", labels=0, train_images=100, batch_size=10, holdout=30, eval_split="heldout")
    parts = partition(toy_data, e)
    chosen = judged(toy_data, e, parts)
    assert np.array_equal(chosen.test_images, toy_data.train_images[parts.heldout])
    assert np.array_equal(chosen.test_labels, toy_data.train_labels[parts.heldout])
    assert chosen.train_images is toy_data.train_images
    assert (chosen.sha256, chosen.source) == (toy_data.sha256, toy_data.source)
    assert judged(toy_data, dataclasses.replace(e, eval_split="test"), parts) is toy_data
    assert not set(parts.heldout) & set(parts.unlabelled)


def test_without_held_out_images_there_is_nothing_to_choose_by(toy_data):
    e = experiment("smoke", labels=0, train_images=100, batch_size=10, eval_split="heldout")
    with pytest.raises(UserError, match=r"^--eval-split heldout --holdout 0: no images are held out"):
        judged(toy_data, e, partition(toy_data, e))
