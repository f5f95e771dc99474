"""Choices of indices: balanced, held out, stratified; each fixed by its seed alone."""

import hashlib
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parmesan_cagem.data.labels import balanced_subset, holdout_split, indices_sha256, stratified_subset
from parmesan_cagem.errors import UserError

# As many per class as MNIST's training set, so the smallest class (5) holds 5,421.
SIZES = np.array([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), SIZES))
label_lists = st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.array)
seeds = st.integers(0, 2**32)


def is_sorted_set(indices: np.ndarray) -> bool:
    return indices.dtype == np.int64 and bool((np.diff(indices) > 0).all())


@pytest.mark.parametrize("count", [0, 10, 20, 50, 100, 1000, 3000, 54210])
def test_balanced_subset_takes_equally_many_of_each_class(count: int) -> None:
    chosen = balanced_subset(LABELS, count, 10, seed=1)
    assert is_sorted_set(chosen)
    np.testing.assert_array_equal(np.bincount(LABELS[chosen], minlength=10), count // 10)


@given(seed=seeds, small=st.integers(0, 5), large=st.integers(0, 5))
def test_a_smaller_balanced_subset_lies_within_a_larger_one(seed: int, small: int, large: int) -> None:
    assume(small <= large)
    labels = LABELS[:200]
    small_set, large_set = (balanced_subset(labels, 10 * n, 10, seed) for n in (small, large))
    assert set(small_set) <= set(large_set)


def test_choices_do_not_depend_on_calls_before_them_or_on_the_global_generator() -> None:
    first = balanced_subset(LABELS, 100, 10, 7), stratified_subset(LABELS, 100, 7)
    np.random.seed(99)  # noqa: NPY002
    balanced_subset(LABELS, 50, 10, 7)
    again = balanced_subset(LABELS, 100, 10, 7), stratified_subset(LABELS, 100, 7)
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before, after)


def test_one_class_s_choice_does_not_depend_on_the_other_classes() -> None:
    labels = LABELS[:1000]
    merged = np.where(labels >= 8, 8, labels)
    ours, theirs = balanced_subset(labels, 100, 10, 1), balanced_subset(merged, 90, 9, 1)
    for label in range(8):
        np.testing.assert_array_equal(ours[labels[ours] == label], theirs[merged[theirs] == label])


def test_seeds_and_purposes_give_different_choices() -> None:
    choices = [
        balanced_subset(LABELS, 100, 10, 1),
        balanced_subset(LABELS, 100, 10, 2),
        stratified_subset(LABELS, 100, 1),
        stratified_subset(LABELS, 100, 2),
        holdout_split(LABELS, 100, [], 1)[1],
        holdout_split(LABELS, 100, [], 2)[1],
    ]
    for i, one in enumerate(choices):
        for other in choices[:i]:
            assert len(np.intersect1d(one, other)) < 10  # by chance about 0.2


def test_every_image_of_a_class_is_as_likely_to_be_chosen() -> None:
    labels = np.repeat([0, 1], 10)
    hits = np.bincount(np.concatenate([balanced_subset(labels, 4, 2, s) for s in range(500)]), minlength=20)
    np.testing.assert_allclose(hits, 100, atol=5 * np.sqrt(500 * 0.2 * 0.8))


def test_the_choices_are_those_that_past_records_used() -> None:
    labels = np.arange(1000) % 10
    kept, held = holdout_split(labels, 100, balanced_subset(labels, 100, 10, 1), 1)
    assert {
        "balanced": indices_sha256(balanced_subset(labels, 100, 10, 1))[:16],
        "kept": indices_sha256(kept)[:16],
        "held": indices_sha256(held)[:16],
        "stratified": indices_sha256(stratified_subset(labels, 100, 1))[:16],
    } == {
        "balanced": "8563c2bf0df56aab",
        "kept": "b6411afdef8c02b8",
        "held": "6cd06b5de8dc709b",
        "stratified": "5e50d15c504f4b46",
    }


@given(labels=label_lists, data=st.data(), seed=seeds)
def test_holdout_parts_cover_all_without_overlap_or_labelled_images(
    labels: np.ndarray, data: st.DataObject, seed: int
) -> None:
    places = st.integers(0, len(labels) - 1)
    labelled = np.array(data.draw(st.lists(places, max_size=20)), np.int64)
    free = np.setdiff1d(np.arange(len(labels)), labelled)
    holdout = data.draw(st.integers(0, min(len(free), len(labels) - 1)))
    kept, held = holdout_split(labels, holdout, labelled, seed)
    assert len(held) == holdout
    assert is_sorted_set(held)
    assert is_sorted_set(kept)
    assert not set(held) & set(labelled)
    np.testing.assert_array_equal(np.union1d(kept, held), np.arange(len(labels)))
    assert len(kept) + len(held) == len(labels)
    exact = holdout * np.bincount(labels[free], minlength=4) / max(len(free), 1)
    assert (np.abs(np.bincount(labels[held], minlength=4) - exact) < 1).all()


def test_the_held_out_images_hardly_depend_on_which_are_labelled() -> None:
    labelled = balanced_subset(LABELS, 100, 10, 1)
    without, with_labels = holdout_split(LABELS, 5000, [], 3)[1], holdout_split(LABELS, 5000, labelled, 3)[1]
    assert len(np.intersect1d(without, with_labels)) > 4900


@given(labels=label_lists, data=st.data(), seed=seeds)
def test_stratified_subset_is_exact_in_count_and_close_in_proportion(
    labels: np.ndarray, data: st.DataObject, seed: int
) -> None:
    count = data.draw(st.integers(1, len(labels)))
    chosen = stratified_subset(labels, count, seed)
    assert len(chosen) == count
    assert is_sorted_set(chosen)
    exact = count * np.bincount(labels, minlength=4) / len(labels)
    assert (np.abs(np.bincount(labels[chosen], minlength=4) - exact) < 1).all()


@pytest.mark.parametrize(
    ("sizes", "count", "quotas"),
    [
        pytest.param([50, 30, 20], 10, [5, 3, 2], id="exact"),
        pytest.param([47, 16, 16, 21], 10, [5, 2, 1, 2], id="largest remainders, tie to the lower class"),
        pytest.param([1, 1, 1], 2, [1, 1, 0], id="all tied"),
        pytest.param([98, 1, 1], 1, [1, 0, 0], id="one image"),
        pytest.param([3, 0, 1], 4, [3, 0, 1], id="all, one class empty"),
        # So many that a sort which is not stable changes the order of those with the same remainder.
        pytest.param([4, 4, 2] * 8, 12, [1, 1, 0] * 6 + [0] * 6, id="ties among many classes"),
    ],
)
def test_stratified_quotas(sizes: list[int], count: int, quotas: list[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = stratified_subset(labels, count, seed=1)
    assert np.bincount(labels[chosen], minlength=len(sizes)).tolist() == quotas


@pytest.mark.parametrize(
    ("call", "says"),
    [
        pytest.param(lambda: balanced_subset(LABELS, -10, 10, 1), "--labels -10: .*use 0", id="labels < 0"),
        pytest.param(lambda: balanced_subset(LABELS, 7, 10, 1), "--labels 7: .*use 0 or 10$", id="labels 7"),
        pytest.param(lambda: balanced_subset(LABELS, 54209, 10, 1), "use 54200 or 54210$", id="labels 54209"),
        pytest.param(
            lambda: balanced_subset(LABELS, 54220, 10, 1),
            "--labels 54220: .*smallest class has 5421 .*use 54210 or fewer",
            id="labels beyond the smallest class",
        ),
        pytest.param(lambda: balanced_subset(LABELS, 60001, 10, 1), "--labels 60001: ", id="labels > images"),
        pytest.param(
            lambda: balanced_subset(np.array([0, 2]), 3, 3, 1),
            "smallest class has 0",
            id="labels: empty class",
        ),
        pytest.param(lambda: balanced_subset([0, 1], 3, 3, 1), "smallest class has 0", id="labels: last class empty"),
        pytest.param(lambda: holdout_split(LABELS, -1, [], 1), "--holdout -1: .*use 0", id="holdout < 0"),
        pytest.param(
            lambda: holdout_split(LABELS, 60000, [], 1), r"--holdout 60000: .* 0 \.\. 59999", id="holdout all"
        ),
        pytest.param(
            lambda: holdout_split(LABELS, 59901, np.arange(100), 1),
            r"0 \.\. 59900 .*100 are labelled",
            id="holdout > unlabelled",
        ),
        pytest.param(lambda: stratified_subset(LABELS, 0, 1), r"--eval-images 0: .* 1 \.\. 60000", id="eval-images 0"),
        pytest.param(lambda: stratified_subset(LABELS, -3, 1), "--eval-images -3: ", id="eval-images < 0"),
        pytest.param(lambda: stratified_subset(LABELS, 60001, 1), "use 60000 for", id="eval-images > images"),
    ],
)
def test_bad_counts_are_user_errors(call: Callable[[], object], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: balanced_subset(LABELS, 7, 10, 1),
            "--labels 7: must be a multiple of the 10 classes from 0 to 54210; use 0 or 10",
        ),
        (
            lambda: holdout_split(LABELS, -1, [0], 1),
            "--holdout -1: must lie in 0 .. 59999 (of 60000 training images, 1 are labelled and stay); use 0",
        ),
        (
            lambda: holdout_split(LABELS, 60000, [], 1),
            "--holdout 60000: must lie in 0 .. 59999 (of 60000 training images, 0 are labelled and stay); "
            "use 59999 or fewer",
        ),
        (lambda: balanced_subset([0, 3], 3, 3, 1), "labels reach 3, with 3 classes"),
        (lambda: holdout_split([0, 0], 1, [2], 1), "labelled indices must lie in 0 .. 1"),
        (lambda: indices_sha256([[0.5, 1]]), "expected whole numbers in one dimension, got float64 of shape (1, 2)"),
    ],
)
def test_refusals_in_full(call: Callable[[], object], text: str) -> None:
    with pytest.raises((UserError, ValueError)) as caught:
        call()
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("call", "error"),
    [
        pytest.param(lambda: balanced_subset(LABELS, 100, 9, 1), ValueError, id="more classes than said"),
        pytest.param(lambda: balanced_subset(LABELS, 10.0, 10, 1), TypeError, id="count not whole"),
        pytest.param(lambda: holdout_split(LABELS, 10, [60000], 1), ValueError, id="labelled out of range"),
        pytest.param(lambda: holdout_split(LABELS, 10, [-1], 1), ValueError, id="labelled negative"),
        pytest.param(lambda: stratified_subset([-1, 0], 1, 1), ValueError, id="negative label"),
        pytest.param(lambda: indices_sha256([[0, 0]]), ValueError, id="two dimensions"),
        pytest.param(lambda: stratified_subset([0.5], 1, 1), ValueError, id="labels not whole"),
    ],
)
def test_wrong_arguments_are_refused(call: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error):
        call()


def test_indices_sha256_is_over_little_endian_int64_in_order() -> None:
    expected = hashlib.sha256(struct.pack("<3q", 3, 1, 2**40)).hexdigest()
    assert indices_sha256([3, 1, 2**40]) == expected
    assert indices_sha256(np.array([3, 1, 2**40], ">i8")) == expected
    assert indices_sha256([1, 3, 2**40]) != expected
