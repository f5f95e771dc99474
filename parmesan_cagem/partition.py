"""Which training images are unlabelled, labelled and held out: indices, fixed by the experiment's seeds."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.binarize import check_pixels
from parmesan_cagem.data.labels import balanced_subset, holdout_split, indices_sha256, stratified_subset
from parmesan_cagem.errors import UserError


@dataclass(frozen=True, eq=False)
class Partition:
    """Sorted indices into the training set.

    Attributes
    ----------
    unlabelled : (N_u,) int64
        All that are not held out: labelled images stay in the unlabelled set (ADGM's code). With ``train_images``, a
        class-stratified choice of them.
    labelled : (N_l,) int64
        Evenly per class, from the label seed alone.
    heldout : (N_h,) int64
        Never labelled ones; for choosing settings.
    """

    unlabelled: NDArray[np.int64]
    labelled: NDArray[np.int64]
    heldout: NDArray[np.int64]

    @property
    def labelled_sha256(self) -> str | None:
        return indices_sha256(self.labelled) if len(self.labelled) else None


def judged(dataset: Dataset, e: Experiment, parts: Partition) -> Dataset:
    """The data set with the images that ``eval_split`` names in the place of its test images.

    With ``heldout`` no number of the evaluation has seen the test set: that is how settings are chosen.

    Raises
    ------
    UserError
        None are held out.
    """
    if e.eval_split == "test":
        return dataset
    if not e.holdout:
        raise UserError("--eval-split heldout --holdout 0: no images are held out; train with --holdout 10000")
    images, labels = dataset.train_images[parts.heldout], dataset.train_labels[parts.heldout]
    return dataclasses.replace(dataset, test_images=images, test_labels=labels)


def evaluated(dataset: Dataset, e: Experiment) -> NDArray[np.int64]:
    """Indices of the test images that bounds are computed on: class-stratified, from the evaluation's seed; or all.

    Raises
    ------
    UserError
        ``eval_images`` is more than there are.
    """
    return stratified_subset(dataset.test_labels, e.eval_images or len(dataset.test_labels), e.eval_seed)


def lineage(e: Experiment, dataset: Dataset, parts: Partition) -> dict[str, Any]:
    """What a checkpoint must share with the run that resumes from it."""
    return {
        "training_hash": e.training_hash(),
        "data_sha256": dataset.sha256,
        "labelled_sha256": parts.labelled_sha256,
    }


def partition(dataset: Dataset, e: Experiment) -> Partition:
    """Split the training set.

    Raises
    ------
    UserError
        ``labels``, ``holdout``, ``train_images``, ``batch_size`` or ``pixel_scale`` does not fit the data set.
    """
    check_pixels(dataset.train_images, e.pixel_scale)
    check_pixels(dataset.test_images, e.pixel_scale)
    labelled = balanced_subset(dataset.train_labels, e.labels, dataset.classes, e.label_seed)
    unlabelled, heldout = holdout_split(dataset.train_labels, e.holdout, labelled, e.label_seed)
    if e.train_images:
        if e.train_images > len(unlabelled):
            raise UserError(f"--train-images {e.train_images}: only {len(unlabelled)} are there; use 0 for all")
        chosen = stratified_subset(dataset.train_labels[unlabelled], e.train_images, e.seed)
        unlabelled = unlabelled[chosen]
    if e.batch_size > len(unlabelled):
        raise UserError(f"--batch-size {e.batch_size}: larger than the {len(unlabelled)} unlabelled images")
    return Partition(unlabelled, labelled, heldout)
