"""Whole runs, from flags to record, on small pictures of real digits."""

import json

import numpy as np
import pytest
from PIL import Image
from small_runs import digits, train

from parmesan_cagem import records

RUNS = {
    "sampled": ["--labels", "20", "--estimator", "sampled", "--labelled-bn", "own", "--clip-norm", "5"],
    "no labels": ["--labels", "0", "--clusters", "4", "--iw-samples", "5", "--class-bn", "q", "--holdout", "30"],
    "holdout": ["--labels", "20", "--holdout", "100", "--routing", "full", "--widths", "tapered", "--no-skip"],
    "collect": ["--labels", "20", "--bn-eval", "collect", "--train-iw", "2", "--eval-images", "1"],
}


@pytest.fixture(scope="module", params=RUNS)
def run(request, tmp_path_factory):
    """(name, folder, record, log, what was printed) of a run of each kind."""
    out = tmp_path_factory.mktemp("runs")
    printed = train(out, *RUNS[request.param])
    folder = out / "run"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    entry = next(line for line in log if "epoch" in line)
    return request.param, folder, records.read(folder / "record.json"), entry, printed


def test_the_record_is_valid_and_tells_the_protocol(run):
    name, folder, record, _, _ = run
    assert record["name"] == "run"
    assert record["config"] == json.loads((folder / "config.json").read_text())
    assert record["eval"]["estimator"] == ("sampled" if name == "sampled" else "marginal")
    assert record["eval"]["bn_mode"] == ("collect" if name == "collect" else "ema")
    assert record["eval"]["images"] == (1 if name == "collect" else 20)
    assert record["eval"]["error_images"] == 60
    assert record["dataset"]["sha256"] == digits().sha256
    assert record["dataset"]["holdout"] == {"holdout": 100, "no labels": 30}.get(name, 0)
    assert record["dataset"]["unlabelled"] == 30
    assert (record["epochs"], record["steps"]) == (1, 3)


def test_bounds_and_terms_of_each_estimator(run):
    name, _, record, _, _ = run
    k = 5 if name == "no labels" else 10
    assert record["eval"]["k"] == k
    marginal = {"F_1", "F_1_marginal", f"F_{k}"}
    assert set(record["bounds"]) == (marginal - {"F_1_marginal"} if name == "sampled" else marginal)
    means = {bound: value["mean"] for bound, value in record["bounds"].items()}
    assert means["F_1"] <= means.get("F_1_marginal", np.inf)
    assert means.get("F_1_marginal", means["F_1"]) < means[f"F_{k}"] < 0
    assert (record["terms"] is None) == (name == "sampled")
    errors = [value["standard_error"] for value in record["bounds"].values()]
    assert all(error is None for error in errors) if name == "collect" else min(errors) > 0


def test_without_labels_there_are_no_errors(run):
    name, folder, record, entry, printed = run
    told = json.loads((folder / "labels.json").read_text())
    if name == "no labels":
        assert record["error_q"] is record["error_p"] is record["test"]["H_q"] is record["test"]["H_p"] is None
        assert record["label_seed"] is record["label_indices_sha256"] is record["label_weight"]["q"] is None
        assert told == {"indices": [], "sha256": None}
        assert not {"H_q", "H_p", "labelled"} & set(entry)
        assert "error" not in printed
    else:
        assert 0 <= record["error_q"] <= 100
        assert 0 <= record["error_p"] <= 100
        assert record["test"]["H_q"] > 0
        assert len(told["indices"]) == record["dataset"]["labelled"] == 20
        assert set(entry["labelled"]) == {"F", "H_q", "H_p", "expected_log_p_y", "KL_y"}
        assert "test error" in printed


def test_held_out_images_are_watched(run):
    name, _, _, entry, _ = run
    assert ("heldout" in entry) == (name in ("holdout", "no labels"))
    if name == "holdout":
        assert set(entry["heldout"]) == {"F", "H_q", "H_p", "expected_log_p_y", "KL_y"}
    if name == "no labels":  # clusters are not classes: no cross-entropies
        assert set(entry["heldout"]) == {"F", "expected_log_p_y", "KL_y"}


def test_the_picture_has_a_row_for_each_cluster(run):
    name, folder, record, _, _ = run
    clusters = record["config"]["clusters"]
    assert clusters == (4 if name == "no labels" else 10)
    with Image.open(folder / "samples.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (2 * (clusters * 9 + 2), 2 * (10 * 9 + 2))
    rows = [pixels[2 * (9 * c + 2) : 2 * (9 * c + 9)] for c in range(clusters)]
    assert all(not np.array_equal(rows[c], rows[c + 1]) for c in range(clusters - 1))


def test_the_table_row_is_printed_last(run):
    name, folder, record, _, printed = run
    lines = printed.splitlines()
    row = "CaGeM-0, L=2, IW=1, K=4" if name == "no labels" else "CaGeM-20, L=2, IW=1"
    k = record["eval"]["k"]
    if name == "collect":
        row = "CaGeM-20, L=2, IW=2"
    assert lines[-1].startswith(
        f"| {row} | ours {record['bounds'][f'F_{k}']['mean']:.2f} (F_{k}, preset smoke, 1 epochs)"
    )
    assert lines[-1].endswith("| paper -81.47 (F_5000) |") == (name != "no labels")
    assert f"record     {folder / 'record.json'}" in lines
    assert (" +- " in lines[0]) == (name != "collect")


def test_collecting_leaves_the_checkpoint_alone(run):
    from parmesan_cagem import checkpoint

    name, folder, _, _, _ = run
    saved = checkpoint.load(folder).arrays
    variances = [value for key, value in saved.items() if key.endswith("running_variance")]
    assert len(variances) == 12
    # Three steps from 1 by a tenth each: at least 0.73 of the start is left in a running average.
    assert name != "collect" or all(value.min() > 0.7 for value in variances)
