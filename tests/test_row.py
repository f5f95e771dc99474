"""The line that a run ends with."""

import pytest
from fake_runs import record

from parmesan_cagem import pipeline
from parmesan_cagem.report import paper
from parmesan_cagem.report.row import table_row


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "| CaGeM-100, L=2, IW=1 | ours -80.00 (F_5000, preset paper, 1000 epochs) | paper -79.38 (F_5000) |"),
        (
            {"preset": "smoke", "labels": 20, "train_iw": 2},
            "| CaGeM-20, L=2, IW=2 | ours -80.00 (F_10, preset smoke, 2 epochs) | paper -81.47 (F_5000) |",
        ),
        (
            {"preset": "demo", "labels": 0, "clusters": 20},
            "| CaGeM-0, L=2, IW=1, K=20 | ours -80.00 (F_100, preset demo, 4 epochs) | paper -82.18 (F_5000) |",
        ),
        (
            {"preset": "demo", "labels": 0, "clusters": 4},
            "| CaGeM-0, L=2, IW=1, K=4 | ours -80.00 (F_100, preset demo, 4 epochs) | paper  |",
        ),
    ],
    ids=["100", "20", "0, K=20", "0, K=4"],
)
def test_the_row_has_ours_and_the_papers(settings, expected):
    assert table_row(record(**settings)) == expected


def test_without_the_published_numbers_a_run_still_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "CHECKOUT", tmp_path / "nowhere.json")
    monkeypatch.chdir(tmp_path)
    assert table_row(record()).endswith("| paper  |")


def test_runs_print_it():
    assert pipeline.table_row is table_row
