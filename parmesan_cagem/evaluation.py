"""Evaluation of a trained model on the test set: the numbers of a run record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem.bounds import Bounds, importance_bounds
from parmesan_cagem.classification import Classification, classify
from parmesan_cagem.collect import collect_statistics
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.data.labels import indices_sha256
from parmesan_cagem.engines import Engine
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.partition import Partition, evaluated


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Per-image results and the indices of the test images that the bounds were computed on."""

    indices: NDArray[np.int64]
    bounds: Bounds
    classes: Classification
    error_images: int


def evaluate(
    model: CaGeM, e: Experiment, dataset: Dataset, partition: Partition, engine: Engine, quiet: bool = False
) -> Evaluation:
    """Binarise the test set once, from ``eval_seed``, and compute bounds, errors, KL terms and active units.

    The bounds use ``eval_images`` test images, everything else all of them. With ``bn_eval=collect`` the model's
    running averages are replaced first.
    """
    if e.bn_eval == "collect":
        used = partition.unlabelled
        collect_statistics(model, e, engine, dataset.train_images[used], used, quiet)
    everything = np.arange(len(dataset.test_images))
    binary = binarize(dataset.test_images, e.pixel_scale, e.eval_seed)
    indices = evaluated(dataset, e)
    return Evaluation(
        indices=indices,
        bounds=importance_bounds(model, e, engine, binary[indices], indices, quiet),
        classes=classify(model, e, engine, binary, everything, quiet),
        error_images=len(binary),
    )


def record_fields(evaluation: Evaluation, e: Experiment, test_labels: NDArray[np.int64]) -> dict[str, Any]:
    """The evaluation's part of a run record (``record.schema.json``)."""
    classes, labelled = evaluation.classes, e.labels > 0
    terms = {name: float(values.mean()) for name, values in evaluation.bounds.terms.items()}
    return {
        "eval": {
            "images": len(evaluation.indices),
            "indices_sha256": indices_sha256(evaluation.indices),
            "binarisation": f"fixed, seed {e.eval_seed}",
            "binarisation_seed": e.eval_seed,
            "estimator": e.estimator,
            "bn_mode": e.bn_eval,
            "k": e.iw_samples,
            "draws_for_errors": e.class_draws,
            "error_images": evaluation.error_images,
        },
        "bounds": {name: _mean_and_error(values) for name, values in evaluation.bounds.bounds.items()},
        "terms": terms or None,
        "error_q": classes.error("q_y", test_labels) if labelled else None,
        "error_p": classes.error("p_y", test_labels) if labelled else None,
        "test": {
            "H_q": classes.cross_entropy("q_y", test_labels) if labelled else None,
            "H_p": classes.cross_entropy("p_y", test_labels) if labelled else None,
            "expected_log_p_y": float(classes.expected_log_p_y.mean()),
        },
        "active_units": classes.active_units(),
        "cluster_usage": classes.usage().tolist(),
    }


def _mean_and_error(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Mean over images and its standard error (None for a single image), in nats."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(values.mean()), "standard_error": error}
