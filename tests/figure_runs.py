"""Small runs to draw figures of, with noise for data and an engine that compiles nothing."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from record_example import example

from parmesan_cagem import checkpoint, data, engines, models, records
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset

D, TEST = 9, 60
SMALL = {"wide": 4, "narrow": 3, "z1_dim": 3}


def small_data():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (TEST, D), dtype=np.uint8), np.arange(TEST) % 10
    return Dataset("mnist", 10, images, labels, images, labels, source="noise", sha256="5" * 64)


@contextlib.contextmanager
def small_world():
    """Small data, and an engine that compiles nothing; counts how often each was asked for."""
    counts = SimpleNamespace(data=0, engine=0)

    def load(name, data_dir, unverified):
        counts.data += 1
        return small_data()

    def get(name, *_):
        counts.engine += 1
        return toy.ENGINE

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", load)
        patch.setattr(engines, "get", get)
        yield counts


def entry(epoch, labelled=True, classes=True):
    terms = {"F": -90 - 50 / epoch, "KL_z1": 20.0 / epoch, "KL_z2": 10.0}
    terms |= {"KL_y": 0.5, "usage": [0.1] * 10} if classes else {}
    monitored = {"labelled": {"F": -89.0, "H_q": 1e-4, "H_p": 0.1}} if labelled else {}
    return {
        "epoch": epoch,
        "temperature": min(1, epoch / 3),
        **terms,
        **({"H_q": 0.1, "H_p": 0.2} if labelled else {}),
        **monitored,
    }


def make_run(folder, epochs=2, weights=True, record=False, seed=0, logged=True, **settings):
    """A run's folder as training leaves it, with random weights."""
    e = Experiment(**{**SMALL, "epochs": epochs, **settings})
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(e.to_dict()))
    lines = [{"versions": {}}, *(entry(i, e.labels > 0, e.model == "cagem") for i in range(1, epochs * logged + 1))]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if weights:
        built = models.build(e, D)
        toy.randomise(built, seed)
        arrays = {f"weights/{name}": value for name, value in toy.weights_of(built).items()}
        checkpoint.save(folder, arrays, {"config": e.to_dict(), "epoch": epochs, "data_sha256": small_data().sha256})
    if record:
        paper_sized = Experiment(**{"epochs": epochs, **settings}).to_dict()
        content = example() | {"name": folder.name, "epochs": epochs, "config": paper_sized}
        records.write(folder / "record.json", content)
    return folder


def make_runs(folder):
    """A 2-d run, a CaGeM-0 and a CaGeM-100 with 32 dimensions. Curves take longest to draw: one run has a log."""
    make_run(folder / "plane", labels=100, z2_dim=2, record=True, logged=False)
    make_run(folder / "zero", labels=0, record=True, seed=1)
    make_run(folder / "hundred", labels=100, epochs=3, record=True, seed=2, logged=False)
    return folder
