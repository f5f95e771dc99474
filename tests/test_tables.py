"""Records in, tables out: which numbers stand where, and what is marked or left empty."""

import pytest
from fake_runs import record
from made_tables import MADE, build, cell, notes_of

from parmesan_cagem.report import sheet


@pytest.mark.parametrize(
    ("label", "column", "text"),
    [
        ("CaGeM-0, L=2, IW=1, K=10", "paper", "-81.60"),
        ("CaGeM-0, L=2, IW=1, K=10", "ours", "-82.00"),
        ("CaGeM-0, L=2, IW=1, K=10", "difference", "-0.40"),
        ("CaGeM-0, L=2, IW=1, K=10", "spread", "0.50 (se, images)"),
        ("CaGeM-0, L=2, IW=1, K=10", "label subsets", ""),
        ("CaGeM-0, L=2, IW=1, K=10", "epochs", "1000"),
        ("CaGeM-0, L=2, IW=1, K=10", "k", "5000"),
        ("CaGeM-0, L=2, IW=1, K=10", "images", "10000"),
        ("CaGeM-0, L=2, IW=1, K=10", "estimator", "marginal"),
        ("CaGeM-0, L=2, IW=1, K=10", "hardware", "xla on a processor, 2 cores"),
        ("CaGeM-0, L=2, IW=1, K=10", "h:mm", "26:00 + 5:30"),
        ("CaGeM-0, L=2, IW=1, K=20", "ours", ""),
        ("CaGeM-100", "ours", "-79.70"),
        ("CaGeM-100", "difference", "-0.32"),
        ("CaGeM-100", "spread", "0.28 (sd, 2 runs)"),
        ("CaGeM-100", "seeds", "1, 2"),
        ("CaGeM-50", "preset", "short"),
        ("CaGeM-50", "images", "500 of 10000"),
        ("CaGeM-20", "k", "100 of 5000"),
        ("LVAE", "ours", ""),
    ],
)
def test_table_1(label, column, text):
    assert cell(build(*MADE)["table1"], label, column) == text


def test_table_2_has_the_mean_over_three_subsets_without_temperature_and_beside_it_q_and_the_warmed():
    table = build(*MADE)["table2"]
    assert cell(table, "CaGeM (this paper)", "100") == "1.16"
    assert cell(table, "Imp. GAN", "20") == "16.77 (±4.52)"
    assert cell(table, "VAT", "20") == ""
    assert cell(table, "p(y|x), no temperature", "100") == "4.00 (±2.00)"
    assert cell(table, "p(y|x), no temperature, difference", "100") == "+2.84"
    assert cell(table, "q(y|x), no temperature", "100") == "3.00 (±1.50)"
    assert cell(table, "p(y|x), with temperature", "100") == "4.00 (±0.00)"  # two runs, equal
    assert cell(table, "p(y|x), no temperature", "50") == ""
    assert "20 labels, no temperature: 1 of 3 label subsets" in notes_of(table, "p(y|x), no temperature")
    assert not any(note.startswith("100 labels, no temp") for note in table.notes)


def test_the_runs_behind_table_2():
    table = build(*MADE)["table2-runs"]
    expected = {
        "paper": "1.16",
        "ours": "4.00",
        "difference": "+2.84",
        "spread": "2.00 (sd, 3 subsets)",
        "label subsets": "1, 2, 3",
        "draws": "100 draws",
    }
    for column, text in expected.items():
        assert cell(table, "CaGeM, 100 labels, p(y|x)", column) == text
    assert [row.group for row in table.rows] == ["no temperature"] * 6 + ["with temperature"] * 6


def test_the_numbers_of_the_text_stand_beside_ours():
    table = build(*MADE)["text"]
    assert cell(table, "CaGeM-100", "ours") == "-92.25"
    assert cell(table, "CaGeM, regardless of labels: CaGeM-100", "paper") == "about 17"
    assert cell(table, "CaGeM, regardless of labels: CaGeM-100", "ours") == "13.50"
    assert cell(table, "CaGeM, regardless of labels: CaGeM-100", "difference") == "-3.50"


def test_without_records_our_cells_are_empty_and_the_papers_are_not():
    made = build()
    for table in made.values():
        numbers = next(i for i, column in enumerate(table.columns) if column.title.startswith(("ours", "20")))
        assert not any(row.ours for row in table.rows)
        if table.name != "table2":
            assert {"".join(row.cells[numbers:]) for row in table.rows} == {""}
        assert (table.notes, table.remarks) == ((), (sheet.SPREAD,) if table.name == "table2" else ())
    assert cell(made["table1"], "CaGeM-100", "paper") == "-79.38"


@pytest.mark.parametrize(
    ("put", "note"),
    [
        ({"git.dirty": True}, "run: trained by a source that may differ from its commit"),
        (
            {"eval.git.dirty": None},
            "run: evaluated by a source that may differ from its commit",
        ),
        ({"dataset.verified": False}, "run: data not verified"),
        ({"warnings": ["checkpoint.h5 was damaged"]}, "run: checkpoint.h5 was damaged"),
        ({"epochs": 24}, "24 of the preset's 1000 epochs"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_a_reader_should_know_is_a_footnote(put, note):
    assert notes_of(build(record(put=put))["table1"], "CaGeM-100") == [note]


def test_a_recipe_of_ours_is_a_footnote():
    table = build(record(class_bn="q", label_weight="60"))["table1"]
    assert notes_of(table, "CaGeM-100") == [
        "settings other than the preset's: class_bn q (not uniform), label_weight 60 (not 10)"
    ]


def test_evaluated_elsewhere():
    table = build(record(put={"eval.device": "a GPU"}))["table1"]
    expected = "xla on a processor, 2 cores, evaluated with xla on a GPU"
    assert cell(table, "CaGeM-100", "hardware") == expected


def test_no_difference_is_no_negative_zero():
    assert cell(build(record(bound=-79.381))["table1"], "CaGeM-100", "difference") == "+0.00"


def test_the_protocol_stands_below_the_table():
    (remark,) = build(record())["table1"].remarks
    for text in ("0123456789ab...", "verified", "probability v/256", "binarisation fixed", "estimator marginal", "ema"):
        assert text in remark
