"""Evaluation of a trained model on the test set: the numbers of a run record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem.bounds import Bounds, importance_bounds
from parmesan_cagem.classification import Classification, classify
from parmesan_cagem.clustering import agreement
from parmesan_cagem.collect import collect_statistics
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.data.labels import indices_sha256
from parmesan_cagem.engines import Engine
from parmesan_cagem.image_bounds import standard_error
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.models.networks import Model
from parmesan_cagem.partition import Partition, evaluated


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Per-image results, one entry a seed, and the test images that the bounds were computed on.

    Attributes
    ----------
    seeds : tuple of int
    indices : (N,) int64
        The same for every seed.
    bounds : tuple of Bounds
    classes : tuple of Classification
        Of all test images.
    """

    seeds: tuple[int, ...]
    indices: NDArray[np.int64]
    bounds: tuple[Bounds, ...]
    classes: tuple[Classification, ...]

    @property
    def seconds(self) -> float:
        """Wall time of all this, interrupted processes included; compiling and ``bn_eval=collect`` are not."""
        return sum(part.seconds for part in self.bounds) + sum(part.seconds for part in self.classes)


def evaluate(
    model: Model,
    e: Experiment,
    dataset: Dataset,
    partition: Partition,
    engine: Engine,
    quiet: bool = False,
    ledger: Ledger | None = None,
) -> Evaluation:
    """Binarise the test set once a seed, and compute bounds, errors, KL terms and active units.

    The bounds use ``eval_images`` test images, everything else all of them. The seeds are ``eval_seed`` and those that
    follow it, ``eval_seeds`` in all; the first one chooses the images. With ``bn_eval=collect`` the model's running
    averages are replaced first, for each seed anew.

    Parameters
    ----------
    ledger : Ledger, optional
        Keeps what is finished, and knows what an interrupted evaluation finished.
    """
    ledger = ledger or Ledger()
    indices, everything = evaluated(dataset, e), np.arange(len(dataset.test_images))
    bounds, classes = [], []
    for settings, binary in each_seed(model, e, dataset, partition, engine, quiet, ledger):
        bounds.append(importance_bounds(model, settings, engine, binary[indices], indices, quiet, ledger=ledger))
        classes.append(classify(model, settings, engine, binary, everything, quiet, ledger=ledger))
    return Evaluation(seeds_of(e), indices, tuple(bounds), tuple(classes))


def seeds_of(e: Experiment) -> tuple[int, ...]:
    """``eval_seed`` and those that follow it, ``eval_seeds`` in all."""
    return tuple(range(e.eval_seed, e.eval_seed + e.eval_seeds))


def each_seed(
    model: Model, e: Experiment, dataset: Dataset, partition: Partition, engine: Engine, quiet: bool, ledger: Ledger
) -> Iterator[tuple[Experiment, NDArray[np.uint8]]]:
    """For every seed, the settings with it alone and the binary test set, (N, D); the batch statistics are then set."""
    for seed in seeds_of(e):
        settings = dataclasses.replace(e, eval_seed=seed, eval_seeds=1)
        if e.bn_eval == "collect":
            used = partition.unlabelled
            collect_statistics(model, settings, engine, dataset.train_images[used], used, quiet, ledger)
        yield settings, binarize(dataset.test_images, e.pixel_scale, seed)


def record_fields(evaluation: Evaluation, e: Experiment, dataset: Dataset) -> dict[str, Any]:
    """The evaluation's part of a run record (``record.schema.json``); ``eval`` still lacks its provenance."""
    classes, labels = evaluation.classes, dataset.test_labels
    classifiers = classes[0].classifiers

    def mean(of: Callable[[Classification], Any]) -> Any:
        return np.mean([of(one) for one in classes], axis=0).tolist()

    def confusion(which: str) -> NDArray[np.int64]:
        return np.sum([one.confusion(which, labels, dataset.classes) for one in classes], axis=0)

    def by_classifier(of: Callable[[Classification, str], float], name: str) -> Any:
        """None for a classifier that the model lacks, and without labels."""
        return mean(lambda one: of(one, name)) if e.labels and name in classifiers else None

    def error(one: Classification, name: str) -> float:
        return one.error(name, labels)

    def entropy(one: Classification, name: str) -> float:
        return one.cross_entropy(name, labels)

    first = evaluation.bounds[0]
    return {
        "eval": {
            "images": len(evaluation.indices),
            "indices_sha256": indices_sha256(evaluation.indices),
            "binarisation": "once for each seed",
            "seeds": list(evaluation.seeds),
            "estimator": e.estimator,
            "bn_mode": e.bn_eval,
            "k": e.iw_samples,
            "draws_for_errors": e.class_draws,
            "error_images": len(labels),
            "seconds": evaluation.seconds,
        },
        "bounds": {name: mean_and_error([one.bounds[name] for one in evaluation.bounds]) for name in first.bounds},
        "terms": {name: float(np.mean([one.terms[name] for one in evaluation.bounds])) for name in first.terms} or None,
        "error_q": by_classifier(error, "q"),
        "error_p": by_classifier(error, "p"),
        "test": {
            "H_q": by_classifier(entropy, "q"),
            "H_p": by_classifier(entropy, "p"),
            "expected_log_p_y": mean(_expected_log_p_y) if classifiers else None,
        },
        "active_units": classes[0].active_units(),
        "cluster_usage": mean(lambda one: one.usage()) if classifiers else [],
        "clustering": agreement(confusion("q")) if classifiers else None,
        "confusion": {name: confusion(name).tolist() for name in classifiers} or None,
    }


def _expected_log_p_y(one: Classification) -> float:
    assert one.expected_log_p_y is not None  # noqa: S101  for the type checker: asked for where there are labels only
    return float(one.expected_log_p_y.mean())


def mean_and_error(by_seed: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
    """Mean over seeds and images, its standard error over images (None: one image), each seed's mean; nats."""
    return {
        "mean": float(np.mean(by_seed, axis=0).mean()),
        "standard_error": standard_error(by_seed),
        "by_seed": [float(one.mean()) for one in by_seed],
    }
