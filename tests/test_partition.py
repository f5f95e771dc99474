"""Which training images are unlabelled, labelled and held out."""

import numpy as np
import pytest

from parmesan_cagem.config import experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.labels import indices_sha256
from parmesan_cagem.errors import UserError
from parmesan_cagem.partition import partition

# Uneven classes, in random order: 1,000 images, 55 to 145 of a class.
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), np.linspace(55, 145, 10).astype(int)))
EVERYTHING = np.arange(1000)


@pytest.fixture(scope="module")
def dataset():
    nothing = np.empty((0, 4), np.uint8)
    images = np.zeros((1000, 4), np.uint8)
    return Dataset("mnist", 10, images, LABELS, nothing, LABELS[:0], source="test", sha256="0" * 64)


def split(dataset, **settings):
    return partition(dataset, experiment("paper", **{"labels": 100, **settings}))


def counts(indices):
    return np.bincount(LABELS[indices], minlength=10)


def is_sorted_and_unique(indices):
    return indices.dtype == np.int64 and (np.diff(indices) > 0).all()


SETTINGS = {
    "plain": {},
    "holdout": {"holdout": 200},
    "subset": {"train_images": 300},
    "holdout and subset": {"holdout": 200, "train_images": 300},
    "no labels": {"labels": 0, "holdout": 200},
    "all free ones held out": {"holdout": 900},
    "other seeds": {"holdout": 200, "train_images": 300, "seed": 5, "label_seed": 7},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_the_three_sets(case, dataset):
    settings = SETTINGS[case]
    parts = split(dataset, **settings)
    sets = (parts.unlabelled, parts.labelled, parts.heldout)
    assert all(is_sorted_and_unique(indices) for indices in sets)
    assert len(parts.heldout) == settings.get("holdout", 0)
    assert len(parts.labelled) == settings.get("labels", 100)
    assert len(parts.unlabelled) == (settings.get("train_images") or 1000 - len(parts.heldout))
    assert not set(parts.heldout) & set(parts.labelled)
    assert not set(parts.heldout) & set(parts.unlabelled)


@pytest.mark.parametrize("holdout", [0, 200, 900])
def test_labelled_images_stay_in_the_unlabelled_set(holdout, dataset):
    parts = split(dataset, holdout=holdout)
    assert set(parts.labelled) <= set(parts.unlabelled)
    assert set(parts.unlabelled) | set(parts.heldout) == set(EVERYTHING)


def test_labels_are_balanced(dataset):
    assert counts(split(dataset).labelled).tolist() == [10] * 10
    assert counts(split(dataset, labels=550).labelled).tolist() == [55] * 10


@pytest.mark.parametrize(
    "changes", [{"holdout": 300}, {"train_images": 200}, {"seed": 9}, {"holdout": 900}, {"batch_size": 7, "epochs": 2}]
)
def test_the_labels_follow_from_the_label_seed_alone(changes, dataset):
    expected = split(dataset)
    given = split(dataset, **changes)
    assert np.array_equal(given.labelled, expected.labelled)
    assert given.labelled_sha256 == expected.labelled_sha256 == indices_sha256(expected.labelled)


def test_another_label_seed_gives_other_labels(dataset):
    one, other = (split(dataset, label_seed=seed).labelled for seed in (1, 2))
    assert len(set(one) & set(other)) < 40  # of 100; 10 to 20 by chance


def test_more_labels_contain_fewer(dataset):
    few, many = (set(split(dataset, labels=labels).labelled) for labels in (20, 100))
    assert few < many


def test_the_subset_has_the_classes_shares_and_follows_from_the_seed(dataset):
    parts = split(dataset, train_images=300)
    assert np.abs(counts(parts.unlabelled) - 0.3 * counts(EVERYTHING)).max() <= 1
    assert np.array_equal(parts.unlabelled, split(dataset, train_images=300, label_seed=2).unlabelled)
    assert not np.array_equal(parts.unlabelled, split(dataset, train_images=300, seed=2).unlabelled)


def test_the_held_out_images_do_not_depend_on_the_subset(dataset):
    assert np.array_equal(
        split(dataset, holdout=100).heldout, split(dataset, holdout=100, train_images=200, seed=3).heldout
    )


def test_without_labels_there_is_no_digest(dataset):
    parts = split(dataset, labels=0)
    assert parts.labelled.size == 0
    assert parts.labelled_sha256 is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"labels": 560}, "--labels 560: .*550"),
        ({"labels": 15}, "--labels 15: .*multiple of the 10 classes"),
        ({"holdout": 901}, "--holdout 901: .*900"),
        ({"train_images": 1001}, "--train-images 1001: only 1000"),
        ({"train_images": 950, "holdout": 100}, "--train-images 950: only 900"),
        ({"batch_size": 1001}, "--batch-size 1001: .*1000"),
        ({"batch_size": 101, "train_images": 100}, "--batch-size 101: .*100"),
        ({"batch_size": 101, "holdout": 900}, "--batch-size 101: .*100"),
    ],
)
def test_what_does_not_fit_is_refused(settings, words, dataset):
    with pytest.raises(UserError, match=words):
        split(dataset, **settings)


def test_exact_fits_are_allowed(dataset):
    assert len(split(dataset, train_images=900, holdout=100, batch_size=900).unlabelled) == 900
