"""What differs from the defaults of an experiment: with another data set, another model, a preset; plain tables."""

from __future__ import annotations

from typing import Any

CLASSES = {"mnist": 10, "omniglot": 50}
# Training and test images. Of OMNIGLOT as rebuilt from the original release; Burda's file has 8,070 for testing.
IMAGES = {"mnist": (60_000, 10_000), "omniglot": (24_345, 8_115)}
WITH_Y = ("cagem", "adgm", "sdgm", "m2")  # a class y, summed over or given
LAYERED = ("vae", "iwae", "lvae", "avae")  # L layers of Gaussian variables
# What differs from Experiment's defaults with another model. ADGM's code: alpha = 0.1 N_u / N_l.
MODELS: dict[str, dict[str, Any]] = {
    "cagem": {},
    **{name: {"labels": 0} for name in LAYERED},
    "iwae": {"labels": 0, "train_iw": 50},
    **{name: {"label_weight": "adgm:0.1"} for name in ("adgm", "sdgm", "m2")},
}
# What differs from Experiment's defaults, which are MNIST's. OMNIGLOT's pixels are probabilities already.
DATASETS: dict[str, dict[str, Any]] = {"mnist": {}, "omniglot": {"labels": 500, "clusters": 50, "pixel_scale": 1.0}}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    # Every schedule ten times shorter.
    "short": {"epochs": 60, "warmup_epochs": 10, "decay_epochs": 5, "eval_images": 500},
    # The paper's networks, minutes.
    "demo": {
        "epochs": 4,
        "warmup_epochs": 1,
        "decay_epochs": 1,
        "iw_samples": 100,
        "eval_images": 500,
        "class_draws": 5,
    },
    # Seconds: for tests.
    "smoke": {
        "epochs": 2,
        "warmup_epochs": 1,
        "decay_epochs": 1,
        "wide": 32,
        "narrow": 16,
        "z1_dim": 8,
        "z2_dim": 4,
        "batch_size": 50,
        "train_images": 500,
        "iw_samples": 10,
        "eval_images": 50,
        "class_draws": 5,
    },
}
