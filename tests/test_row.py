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
        ({"model": "vae"}, "| VAE, L=2, IW=1 | ours -80.00 (F_5000, preset paper, 1000 epochs) | paper  |"),
        (
            {"preset": "short", "model": "iwae", "train_iw": 5},
            "| IWAE, L=2, IW=5 | ours -80.00 (F_5000, preset short, 60 epochs) | paper  |",
        ),
        (
            {"model": "iwae", "warmup_epochs": 0},
            "| IWAE, L=2, IW=50 | ours -80.00 (F_5000, preset paper, 1000 epochs) | paper -82.90 (F_5000) |",
        ),
        (
            {"model": "lvae", "layers": 5, "widths": "ladder", "train_iw": 10},
            "| LVAE, L=5, IW=10 | ours -80.00 (F_5000, preset paper, 1000 epochs) | paper -81.74 (F_5000) |",
        ),
        (
            {"dataset": "omniglot", "model": "vae", "train_iw": 50, "iw_objective": "averaged"},
            "| VAE, L=2, IW=50 | ours -80.00 (F_5000, preset paper, 1000 epochs) | paper -106.30 (F_5000) |",
        ),
        (
            {"model": "adgm"},
            "| ADGM-100, IW=1 | ours -80.00 (F_5000, preset paper, 1000 epochs) | paper -86.06 (F_5000) |",
        ),
        (
            {"model": "m2", "labels": 0},
            "| M2-0, IW=1, K=10 | ours -80.00 (F_5000, preset paper, 1000 epochs) | paper  |",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_row_has_ours_and_the_papers(settings, expected):
    assert table_row(record(**settings)) == expected


def test_without_the_published_numbers_a_run_still_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "CHECKOUT", tmp_path / "nowhere.json")
    monkeypatch.chdir(tmp_path)
    assert table_row(record()).endswith("| paper  |")


def test_runs_print_it():
    assert pipeline.table_row is table_row
