"""Every model of ``small_runs.MODELS``: a whole run, from flags to record, and its exact resume."""

import json
import os
import signal

import numpy as np
import pytest
from PIL import Image
from runs import arrays_of, assert_same_arrays, lines_of, log_of
from small_runs import MODELS, RUN, called, train

from parmesan_cagem import checkpoint, records, training
from parmesan_cagem.engines.theano_c import TheanoC

EPOCHS = ["--epochs", "2"]


class Interrupting(TheanoC):
    """An engine that is sent a signal while it takes the first block of a run's steps."""

    def steps(self, inputs, outputs, updates, name):
        run_block = super().steps(inputs, outputs, updates, name)

        def run(*values):
            os.kill(os.getpid(), signal.SIGTERM)
            return run_block(*values)

        run.prepare, run.pull = run_block.prepare, run_block.pull
        return run


@pytest.fixture(scope="module", params=MODELS)
def run(request, tmp_path_factory):
    """(name, folder, record, what was printed) of two epochs without a break, of 2 and 1 steps a block."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "BLOCK", 2)
        patch.setattr(training, "BLOCK_SECONDS", 0.0)
        printed = train(out, *MODELS[request.param], *EPOCHS)
        yield request.param, out / "run", records.read(out / "run" / "record.json"), printed


def test_the_record_is_valid_and_names_the_model(run):
    name, folder, record, _ = run
    assert record["model"] == record["config"]["model"] == name
    assert record["config"] == json.loads((folder / "config.json").read_text())
    assert (record["epochs"], record["steps"]) == (2, 6)


def test_bounds_and_terms(run):
    _, _, record, _ = run
    means = {bound: value["mean"] for bound, value in record["bounds"].items()}
    assert set(means) == {"F_1", "F_1_marginal", "F_10"}
    assert means["F_1"] <= means["F_1_marginal"] + 1e-4
    assert means["F_1_marginal"] < means["F_10"] < 0
    terms = record["terms"]
    exact = [name for name in terms if name.startswith("KL") and f"{name}_sampled" not in terms]
    assert terms["reconstruction"] - sum(terms[name] for name in exact) == pytest.approx(means["F_1"], abs=1e-3)


def test_the_log(run):
    _, folder, record, _ = run
    entries = [line for line in lines_of(folder) if "epoch" in line]
    assert [entry["epoch"] for entry in entries] == [1, 2]
    for entry in entries:
        assert set(record["terms"]) < set(entry)
        assert np.isfinite([entry["objective"], entry["F"], entry["gradient_norm_rest"]]).all()
        if record["dataset"]["holdout"]:
            assert np.isfinite(entry["heldout"]["F"])


def test_the_picture_has_ten_rows(run):
    _, folder, _, _ = run
    with Image.open(folder / "samples.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (2 * (10 * 9 + 2), 2 * (10 * 9 + 2))
    rows = [pixels[2 * (9 * c + 2) : 2 * (9 * c + 9)] for c in range(10)]
    assert all(not np.array_equal(rows[c], rows[c + 1]) for c in range(9))


def test_a_run_that_was_stopped_in_an_epoch_resumes_exactly(run, tmp_path):
    name, whole, record, _ = run
    flags = [*RUN, *MODELS[name], *EPOCHS, "--out", tmp_path]
    status, _, _ = called("run_mnist.py", *flags, engine=Interrupting(mode="FAST_COMPILE"))
    assert status == 128 + signal.SIGTERM
    assert not (tmp_path / "run" / "record.json").exists()
    saved = checkpoint.load(tmp_path / "run").attributes
    assert (saved["epoch"], saved["step"]) == (0, 2)
    status, _, told = called("run_mnist.py", *flags, "--resume")
    assert status == 0, told
    assert_same_arrays(arrays_of(tmp_path / "run"), arrays_of(whole))
    assert log_of(tmp_path / "run") == log_of(whole)
    again = records.read(tmp_path / "run" / "record.json")
    for part in ("bounds", "terms", "active_units", "config_hash"):
        assert again[part] == record[part], part
