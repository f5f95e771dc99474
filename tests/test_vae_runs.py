"""A VAE from flags to record: its log, its record, its samples, ``cagem evaluate``, resuming an older version's run."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from small_runs import RUN, called, train

from parmesan_cagem import records

CLASSES = ("error_q", "error_p", "clustering", "confusion")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    printed = train(out, "--model", "vae")
    return out / "run", printed


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained[0], tmp_path / "run")


def test_a_run_logs_and_records_what_a_vae_has(trained):
    run, printed = trained
    record = records.read(run / "record.json")
    assert [record[key] for key in (*CLASSES, "cluster_usage")] == [None] * 4 + [[]]
    assert list(record["terms"]) == ["KL_z1", "KL_z2", "KL_z2_sampled", "reconstruction"]
    assert list(record["active_units"]) == ["z1", "z2"]
    assert (record["model"], record["label_seed"], record["label_indices_sha256"]) == ("vae", None, None)
    assert record["label_weight"]["q"] is record["label_weight"]["p"] is None
    _, entry = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"F", "KL_z1", "KL_z2", "reconstruction", "gradient_norm_rest"} <= set(entry)
    assert not {"usage", "H_q", "H_p", "KL_y", "gradient_norm_y"} & set(entry)
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines] == ["bound", "samples", "record", "|"]
    assert lines[-1].startswith("| VAE")


def test_its_samples_are_ten_rows_of_ten(trained):
    with Image.open(trained[0] / "samples.png") as picture:
        pixels = np.asarray(picture)[::2, ::2]
    side = 10 * (7 + 2) + 2
    assert pixels.shape == (side, side)
    pictures = {pixels[2 + 9 * i : 9 + 9 * i, 2 + 9 * j : 9 + 9 * j].tobytes() for i in range(10) for j in range(10)}
    assert len(pictures) > 90  # after an epoch on 30 images a few may agree to the last of 256 grays


def test_evaluate_computes_the_same_and_keeps_another_protocol(run):
    before = records.read(run / "record.json")
    (run / "evaluation.h5").unlink()
    assert called("cagem", "evaluate", run, "--no-progress")[0] == 0
    after = records.read(run / "record.json")
    for name in ("bounds", "terms", "active_units", "test", "config_hash", "label_weight", *CLASSES):
        assert after[name] == before[name], name
    status, printed, told = called("cagem", "evaluate", run, "--iw-samples", "20", "--bn-eval", "collect")
    assert status == 0, told
    assert records.read(run / "record.former-1.json") == after
    collected = records.read(run / "record.json")
    assert (collected["eval"]["k"], collected["eval"]["bn_mode"]) == (20, "collect")
    assert collected["terms"] != before["terms"]
    assert printed.startswith("bound      F_20 = ")


def test_evaluate_refuses_an_estimator_that_a_vae_has_not(run):
    before = (run / "record.json").read_bytes()
    status, _, told = called("cagem", "evaluate", run, "--estimator", "sampled")
    assert status == 2
    assert told.startswith("cagem: --estimator sampled: --model vae has no such setting")
    assert told.count("\n") == 1
    assert (run / "record.json").read_bytes() == before


# A run of a version without the later settings


@pytest.fixture
def older(run):
    config = json.loads((run / "config.json").read_text())
    for name in ("layers", "a_dim", "labelled_bound", "iw_objective"):
        del config[name]
    (run / "config.json").write_text(json.dumps(config))
    return run


def resume(run, *flags):
    return called("run_mnist.py", *RUN, "--model", "vae", "--resume", "--out", run.parent, *flags)


def test_a_run_of_an_older_version_goes_on(older):
    status, _, told = resume(older, "--epochs", "2")
    assert status == 0, told
    assert records.read(older / "record.json")["epochs"] == 2
    config = json.loads((older / "config.json").read_text())
    assert (config["epochs"], config["layers"], config["iw_objective"]) == (2, 2, "weighted")


def test_a_changed_later_setting_is_named(older):
    before = (older / "config.json").read_bytes()
    status, _, told = resume(older, "--layers", "3")
    assert status == 2
    assert "began with other settings: layers was 2, now 3; give the former values" in told
    assert told.count("\n") == 1
    assert (older / "config.json").read_bytes() == before
