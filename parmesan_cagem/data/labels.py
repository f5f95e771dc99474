"""Which images have labels, which are held out, which are evaluated: seeded choices of indices.

Each class has its own random order, fixed by the seed and the purpose, and a choice takes its beginning. So a
choice depends on the labels, its count and its seed, on nothing that ran before it.
"""

from __future__ import annotations

import hashlib
from operator import index

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parmesan_cagem.errors import UserError

Indices = NDArray[np.int64]

_BALANCED, _HOLDOUT, _STRATIFIED = 1, 2, 3  # purposes: one seed gives unrelated choices for each


def balanced_subset(labels: ArrayLike, count: int, classes: int, seed: int) -> Indices:
    """Choose the labelled images, evenly per class ("--labels").

    With one seed, a smaller choice lies within every larger one.

    Parameters
    ----------
    labels : (N,) int
        Classes 0 .. classes - 1.
    count : int
        How many to choose: a multiple of `classes`, or 0.
    classes, seed : int

    Returns
    -------
    (count,) int64
        Sorted indices into `labels`.

    Raises
    ------
    UserError
        If `count` is negative, no multiple of `classes`, or more than the labels allow.

    Examples
    --------
    >>> labels = np.array([0, 0, 1, 1, 1])
    >>> np.bincount(labels[balanced_subset(labels, 4, classes=2, seed=1)])
    array([2, 2])
    """
    labels, count = _as_indices(labels), index(count)
    sizes = np.bincount(labels, minlength=classes)
    if len(sizes) > classes:
        raise ValueError(f"labels reach {len(sizes) - 1}, with {classes} classes")
    smallest = int(sizes.min())
    allowed = f"must be a multiple of the {classes} classes from 0 to {smallest * classes}"
    if count < 0:
        raise UserError(f"--labels {count}: {allowed}; use 0 for a run without labels")
    if count > smallest * classes:
        raise UserError(
            f"--labels {count}: {allowed}, as the smallest class has {smallest} images; "
            f"use {smallest * classes} or fewer"
        )
    if count % classes:
        below = count - count % classes
        raise UserError(f"--labels {count}: {allowed}; use {below} or {below + classes}")
    return _take(labels, np.full(classes, count // classes), _BALANCED, seed)


def holdout_split(labels: ArrayLike, holdout: int, labelled: ArrayLike, seed: int) -> tuple[Indices, Indices]:
    """Hold out training images for choosing anything ("--holdout"), none of them labelled.

    The held images have the class proportions of the unlabelled ones, by largest remainder.

    Parameters
    ----------
    labels : (N,) int
        True classes of all training images (for the proportions only).
    holdout : int
        How many to hold out; at most the unlabelled ones, and never all images.
    labelled : (n,) int
        Indices which must stay.
    seed : int

    Returns
    -------
    kept : (N - holdout,) int64
        Sorted indices to train on, among them all of `labelled`.
    held : (holdout,) int64
        Sorted indices of the others.

    Raises
    ------
    UserError
        If `holdout` is negative or too large.

    Examples
    --------
    >>> kept, held = holdout_split(np.zeros(4, int), 3, labelled=[2], seed=1)
    >>> kept, held
    (array([2]), array([0, 1, 3]))
    """
    labels, holdout = _as_indices(labels), index(holdout)
    total, fixed = len(labels), _as_indices(labelled)
    if fixed.size and not (fixed.min() >= 0 and fixed.max() < total):
        raise ValueError(f"labelled indices must lie in 0 .. {total - 1}")
    free = np.ones(total, bool)
    free[fixed] = False
    most = min(int(free.sum()), total - 1)
    if not 0 <= holdout <= most:
        raise UserError(
            f"--holdout {holdout}: must lie in 0 .. {most} (of {total} training images, "
            f"{total - int(free.sum())} are labelled and stay); use " + ("0" if holdout < 0 else f"{most} or fewer")
        )
    quotas = _largest_remainder(np.bincount(labels[free]), holdout)
    held = _take(labels, quotas, _HOLDOUT, seed, free)
    return np.setdiff1d(np.arange(total), held), held


def stratified_subset(labels: ArrayLike, count: int, seed: int) -> Indices:
    """Choose images to evaluate on ("--eval-images"), with the class proportions of all.

    Quotas per class by largest remainder (ties to the lower class), so the count is exact.

    Parameters
    ----------
    labels : (N,) int
    count : int
        1 .. N.
    seed : int

    Returns
    -------
    (count,) int64
        Sorted indices into `labels`.

    Raises
    ------
    UserError
        If `count` is not in 1 .. N.

    Examples
    --------
    >>> labels = np.repeat([0, 1], [30, 10])
    >>> np.bincount(labels[stratified_subset(labels, 4, seed=1)])
    array([3, 1])
    """
    labels, count = _as_indices(labels), index(count)
    if not 1 <= count <= len(labels):
        raise UserError(f"--eval-images {count}: must lie in 1 .. {len(labels)}; use {len(labels)} for the whole set")
    return _take(labels, _largest_remainder(np.bincount(labels), count), _STRATIFIED, seed)


def indices_sha256(indices: ArrayLike) -> str:
    """Digest a choice for the record: SHA-256 (hex) of the indices as little-endian int64, in their order.

    Examples
    --------
    >>> indices_sha256([])[:12]
    'e3b0c44298fc'
    """
    return hashlib.sha256(_as_indices(indices).astype("<i8").tobytes()).hexdigest()


def _take(
    labels: Indices, quotas: Indices, purpose: int, seed: int, allowed: NDArray[np.bool_] | None = None
) -> Indices:
    """Sorted indices: of each class c the first quotas[c] allowed ones in its own random order."""
    chosen = [np.empty(0, np.int64)]
    for label, quota in enumerate(quotas):
        order = np.random.default_rng([purpose, seed, label]).permutation(np.flatnonzero(labels == label))
        chosen.append((order if allowed is None else order[allowed[order]])[:quota])
    return np.sort(np.concatenate(chosen))


def _largest_remainder(sizes: Indices, count: int) -> Indices:
    """Split `count` in proportion to `sizes`, in whole numbers, none above its size."""
    quotas, remainders = np.divmod(count * sizes, max(int(sizes.sum()), 1))
    largest = np.argsort(-remainders, kind="stable")[: count - int(quotas.sum())]
    quotas[largest] += 1
    return quotas


def _as_indices(values: ArrayLike) -> Indices:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"expected whole numbers in one dimension, got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)
