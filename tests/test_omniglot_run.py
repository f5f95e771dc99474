"""A whole run on OMNIGLOT, from flags to record: 50 clusters, pixels that are probabilities."""

import numpy as np
import pytest

from parmesan_cagem import pipeline, records
from parmesan_cagem.data import Dataset
from parmesan_cagem.engines.theano_c import TheanoC

FLAGS = [
    *("--preset", "smoke", "--epochs", "1", "--labels", "50", "--wide", "6", "--narrow", "5", "--z1-dim", "3"),
    *("--z2-dim", "2", "--batch-size", "10", "--labelled-batch-size", "10", "--train-images", "30", "--eval-images"),
    *("20", "--iw-samples", "10", "--class-draws", "2", "--no-progress", "--name", "run", "--unverified-data"),
]


@pytest.fixture
def characters():
    """Two training images and one test image of each of 50 alphabets: 5x5 probabilities."""
    rng = np.random.default_rng(1)
    train, test = (rng.random((count, 25), dtype=np.float32) for count in (100, 50))
    labels = np.arange(50).repeat(2), np.arange(50)
    return Dataset("omniglot", 50, train, labels[0], test, labels[1], source="noise", sha256="0" * 64, verified=False)


def test_a_whole_run(characters, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(pipeline, "load", lambda *given: (asked.append(given), characters)[1])
    monkeypatch.setattr("parmesan_cagem.engines.check", lambda name: None)
    monkeypatch.setattr("parmesan_cagem.engines.get", lambda *settings: TheanoC(mode="FAST_COMPILE"))
    assert pipeline.main("omniglot", [*FLAGS, "--out", str(tmp_path)], "run_omniglot.py") == 0
    record = records.read(tmp_path / "run" / "record.json")
    assert asked == [("omniglot", None, True)]
    assert (record["dataset"]["name"], record["dataset"]["pixel_scale"]) == ("omniglot", None)
    assert record["dataset"]["verified"] is False
    assert (record["dataset"]["labelled"], record["dataset"]["unlabelled"]) == (50, 30)
    assert len(record["cluster_usage"]) == 50
    assert record["error_q"] is not None
    assert capsys.readouterr().out.splitlines()[-1].startswith("| CaGeM-50, L=2, IW=1 | ours -")
    assert (tmp_path / "run" / "samples.png").exists()


def test_bytes_are_no_probabilities(characters, monkeypatch, tmp_path, capsys):
    """A data set whose pixels are not what its name says must not train."""
    pixels = np.full((100, 25), 200, np.uint8)
    wrong = Dataset(
        "omniglot", 50, pixels, characters.train_labels, pixels[:50], characters.test_labels, source="", sha256=""
    )
    monkeypatch.setattr(pipeline, "load", lambda *given: wrong)
    assert pipeline.main("omniglot", [*FLAGS, "--out", str(tmp_path)], "run_omniglot.py") == 2
    assert "pixels must lie in 0 .. 1.0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
