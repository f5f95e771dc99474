"""A run's page in the report: its record's numbers, its settings, its charts."""

import re

import numpy as np
from fake_runs import record, write
from html_pages import Page, run_folder, text_of

from parmesan_cagem.report import charts, inputs, run_pages, sprites


def test_every_number_of_a_record_is_on_its_page(tmp_path):
    def change(record):
        record["bounds"]["F_5000"] = {"mean": -81.234, "standard_error": 0.321, "by_seed": [-81.234]}
        record["terms"]["KL_z2"] = 13.579
        record["error_p"], record["error_q"] = 7.31, 4.17
        record["active_units"] = {"z1": 37, "z2": 11}
        record["confusion"]["q"][3][4] = 777
        record["warnings"] = ["mind the gap"]

    made = run_folder(tmp_path / "runs", "one", change, labels=100, class_bn="q")
    runs, _ = inputs.collect(tmp_path / "runs", tmp_path)
    text = Page(text_of(run_pages.section(runs))).texts["main"][0]
    for wanted in ("−81.23 ± 0.32", "13.58", "7.31 %", "4.17 %", "37", "11", "777", "mind the gap", "preset short"):
        assert wanted in text
    for wanted in (
        made["git"]["commit"],
        made["dataset"]["sha256"],
        made["started"],
        "verified to the last byte",
    ):
        assert wanted in text
    assert "differing from it: class_bn q." in text


def test_settings_that_differ_from_the_preset_are_marked(tmp_path):
    run_folder(tmp_path, "one", labels=20, epochs=61)
    runs, _ = inputs.collect(tmp_path, tmp_path)
    html = run_pages.section(runs)
    rows = re.findall(r'<tr class="changed"><th scope="row">(\w+)</th>', html)
    assert rows == ["labels", "epochs"]
    assert 'scope="row">batch_size' in html


def test_a_model_without_y_and_terms_has_a_page(tmp_path):
    def change(record):
        record.update(cluster_usage=[], clustering=None, confusion=None, terms=None, error_q=None, error_p=None)
        record["bounds"]["F_1"]["standard_error"] = None
        record["git"] = {"commit": None, "dirty": None}  # tables refuse it; its own page shows it
        record["dataset"]["pixel_scale"] = None

    run_folder(tmp_path, "vae", change, labels=0)
    runs, left_out = inputs.collect(tmp_path, tmp_path)
    text = Page(text_of(run_pages.section(runs))).texts["main"][0]
    assert left_out[0].startswith("in no table: vae/record.json: git.commit: null")
    assert "no git checkout" in text
    assert "None" not in text


def page_of(tmp_path, **settings):
    """The text of the page of a run, and its headline as a dict."""
    write(tmp_path, record("run", "short", **settings))
    (tmp_path / "run" / "samples.png").write_bytes(sprites.sheet(np.zeros((4, 4)), 2))
    runs, left_out = inputs.collect(tmp_path, tmp_path)
    assert left_out == []
    read = Page(text_of(run_pages.section(runs)))
    return read.texts["main"][0], dict(zip(read.texts["dt"], read.texts["dd"], strict=True)), read


def test_a_page_of_layers_has_a_term_for_each_and_nothing_of_classes(tmp_path):
    text, headline, read = page_of(tmp_path, model="lvae", layers=5, widths="ladder")
    terms = [name for name in headline if name.startswith(("KL", "recon"))]
    expected = ["reconstruction", *(f"KL z{i}" for i in range(1, 6)), "KL z5 sampled"]
    assert terms == [f"{name}, nats" for name in expected]
    assert [headline[f"KL z{i}, nats"] for i in range(1, 6)] == ["5.00", "6.00", "7.00", "8.00", "9.00"]
    assert "F_1 = reconstruction − KL z1 − KL z2 − KL z3 − KL z4 − KL z5 sampled; KL z5 is its analytic value." in text
    assert "The top variable drawn from its prior" in text
    assert "Clusters" not in read.texts["h4"]
    assert "differing from it: widths ladder, layers 5." in text  # its own labels and samples are usual
    assert not [name for name in headline if "error" in name or name in ("purity", "KL y, nats")]
    assert "Errors:" not in text


def test_a_page_of_a_baseline_with_a_class_has_one_classifier(tmp_path):
    text, headline, read = page_of(tmp_path, model="adgm", error=(3.21, 0.0))
    assert headline["test error of q(y|x)"] == "3.21 %"
    assert "test error of p(y|x)" not in headline
    assert [name for name in headline if name.startswith("KL")] == [
        f"KL {name}, nats" for name in ("z1", "z1 sampled", "a", "y")
    ]
    assert "F_1 = reconstruction − KL z1 sampled − KL a − KL y; KL z1 is its analytic value." in text
    assert "q(y|x): test images by class and cluster" in text
    assert "p(y|x): test images" not in text
    assert "Clusters" in read.texts["h4"]
    assert "differing from it: nothing." in text


def test_heat_table_is_darkest_on_the_largest_share():
    html = charts.heat_table([[100, 0], [0, 0]], "t", "class", "cluster")
    assert re.findall(r'class="(h\d)"', html) == ["h9", "h0", "h0", "h0"]


def test_bars_say_their_values():
    (svg,) = Page(charts.bars([0.25, 0.75], "Usage")).all("svg")
    assert svg["aria-label"] == "Usage: 0: 25.0 %, 1: 75.0 %"
