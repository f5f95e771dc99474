"""Models on nine pixels (CaGeM with three clusters), every parameter far from its initial value."""

import numpy as np

from parmesan_cagem import evaluation, models
from parmesan_cagem.config import experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.engines.theano_c import TheanoC
from parmesan_cagem.partition import partition
from parmesan_cagem.presets import WITH_Y

D, K = 9, 3  # pixels of a toy image, clusters
TOY = {"labels": 0, "clusters": K, "wide": 6, "narrow": 5, "z1_dim": 3, "z2_dim": 2, "class_draws": 4, "eval_seed": 3}


def engine():
    return TheanoC(mode="FAST_COMPILE")


def toy_experiment(**changes):
    """Of CaGeM, or of the model named; ``clusters`` only where there are some."""
    settings = {**TOY, **changes}
    if settings.get("model", "cagem") not in WITH_Y:
        del settings["clusters"]
    return experiment("smoke", **settings)


def toy(**changes):
    """An experiment and a model whose every parameter is far from its initial value."""
    e = toy_experiment(**changes)
    model = models.build(e, D)
    rng = np.random.default_rng(5)
    scales = {"log_sigma": 0.02, "p_y.logits": 2.0}  # sigma around 1, not 1e9; clusters that differ
    for parameter in model.params():
        value = parameter.get_value()
        if parameter.name.endswith("variance"):
            value = rng.uniform(0.5, 2, value.shape)
        else:
            scale = next((scale for part, scale in scales.items() if part in parameter.name), 0.5)
            value = value + scale * rng.standard_normal(value.shape)
        parameter.set_value(value.astype(np.float32))
    return e, model


def toy_images(count):
    return (np.random.default_rng(1).random((count, D)) < 0.4).astype(np.uint8)


def toy_dataset():
    """200 images to train on and 200 to test, of ten classes of several sizes."""
    rng = np.random.default_rng(8)
    labels = np.repeat(np.arange(10), [30, 30, 20, 20, 20, 20, 20, 15, 15, 10])
    train, test = rng.permutation(labels), rng.permutation(labels)
    pixels = rng.integers(0, 256, (2, 200, D)).astype(np.uint8)
    return Dataset("mnist", 10, pixels[0], train, pixels[1], test, source="toy", sha256="0" * 64)


def evaluate_toy(data, trained, ledger=None, **changes):
    """The results of an evaluation, and its fields of a record."""
    settings = {"iw_samples": 10, "eval_images": 40, "train_images": 100, "batch_size": 10, **changes}
    e, (_, model) = toy_experiment(**settings), trained
    result = evaluation.evaluate(model, e, data, partition(data, e), engine(), quiet=True, ledger=ledger)
    return result, evaluation.record_fields(result, e, data)
