"""The baselines in the tables: the paper's rows filled by the rule, ours beside them, and what each says of itself."""

import dataclasses
from pathlib import Path

import pytest
from fake_runs import record, runs
from made_tables import build, cell, notes_of, row_of

from parmesan_cagem.errors import UserError
from parmesan_cagem.report import ours, paper, tables

SAME = "same architecture as our CaGeM"


def rows_of_ours(table):
    return [row.cells[0] for row in table.rows if row.group == ours.GROUP]


@pytest.mark.parametrize(
    ("table", "label", "settings", "same"),
    [
        ("table1", "AVAE, L=2, IW=1", {"model": "avae"}, True),
        ("table1", "IWAE, L=2, IW=50", {"model": "iwae"}, True),
        ("table1", "LVAE, L=5, IW=10", {"model": "lvae", "layers": 5, "widths": "doubled", "train_iw": 10}, False),
        ("table1", "LVAE, L=5, IW=10", {"model": "lvae", "layers": 5, "widths": "ladder", "train_iw": 10}, False),
        ("table3", "VAE, L=2, IW=50", {"model": "vae", "train_iw": 50, "iw_objective": "averaged"}, True),
        ("table3", "IWAE, L=2, IW=50", {"model": "iwae"}, True),
        ("table3", "LVAE, L=5, FT", {"model": "lvae", "layers": 5, "widths": "doubled", "train_iw": 10}, False),
        ("text", "ADGM-100", {"model": "adgm"}, True),
    ],
)
def test_a_published_baseline_is_filled_and_says_whose_architecture_it_has(table, label, settings, same):
    dataset = "omniglot" if table == "table3" else "mnist"
    made = build(record(bound=-85.25, dataset=dataset, **settings))[table]
    assert cell(made, label, "ours") == "-85.25"
    assert any(note.startswith(SAME) for note in notes_of(made, label)) == same
    if table != "text" and settings["model"] != "adgm":
        assert rows_of_ours(made) == []


@pytest.mark.parametrize(("model", "row"), [("vae", "VAE"), ("lvae", "LVAE")])
def test_f_1_of_the_text(model, row):
    made = build(record(model=model))["text"]
    assert cell(made, f"{row} (S", "ours") == "-92.25"
    assert notes_of(made, f"{row} (S") == ["two layers; the paper does not say how many its number has"]
    assert cell(build(record(model="lvae"))["text"], "LVAE with 2 layers", "ours") == "6.00"


BESIDE = [
    record("cagem", "short", labels=0),
    record("vae", "short", bound=-88.0, model="vae"),
    record("iwae", "short", bound=-87.0, model="iwae", train_iw=5),
    record("lvae", "short", bound=-86.5, model="lvae"),
    record("adgm", "short", bound=-87.5, model="adgm"),
]


def test_runs_that_the_papers_table_has_no_row_for_stand_below_it():
    table = build(*BESIDE)["table1"]
    assert rows_of_ours(table) == [
        "VAE, L=2, IW=1 (ours)",
        "IWAE, L=2, IW=5 (ours)",
        "LVAE, L=2, IW=1 (ours)",
        "ADGM-100, IW=1 (ours; paper: section 6, first paragraph)",
    ]
    assert [row.group for row in table.rows][-4:] == [ours.GROUP] * 4
    assert cell(table, "VAE, L=2, IW=1", "ours") == "-88.00"
    assert cell(table, "VAE, L=2, IW=1", "paper") == ""
    assert (cell(table, "ADGM-100", "paper"), cell(table, "ADGM-100", "difference")) == ("-86.06", "-1.44")
    assert cell(table, "CaGeM-0, L=2, IW=1, K=10", "preset") == cell(table, "VAE, L=2", "preset") == "short"


def test_a_reduced_number_of_samples_is_shown_and_never_fills_the_row_of_50():
    table = build(*BESIDE)["table1"]
    assert cell(table, "IWAE, L=2, IW=50", "ours") == ""
    assert cell(table, "IWAE, L=2, IW=5 ", "ours") == "-87.00"
    assert notes_of(table, "IWAE, L=2, IW=5 ") == [ours.FEWER]
    both = build(*BESIDE, record("whole", "short", model="iwae"))["table1"]
    assert cell(both, "IWAE, L=2, IW=50", "ours") == "-80.00"
    assert cell(both, "IWAE, L=2, IW=5 ", "ours") == "-87.00"


def test_of_two_reduced_numbers_the_rule_of_all_cells_decides():
    more = record("more", "short", bound=-99.0, model="iwae", train_iw=10, epochs=61)
    assert rows_of_ours(build(*BESIDE, more)["table1"])[1] == "IWAE, L=2, IW=10 (ours)"


def test_without_records_there_are_no_rows_of_nothing():
    for table in build(record(labels=0)).values():
        assert rows_of_ours(table) == []
        assert not any("ADGM, ours" in row.group for row in table.rows)


def test_other_widths_schedules_and_layers_are_no_rows():
    changes = [{"wide": 512}, {"layers": 1}, {"warmup_epochs": 0}, {"widths": "ladder"}]
    made = [record(f"r{i}", model="vae", **changed) for i, changed in enumerate(changes)]
    assert rows_of_ours(build(*made)["table1"]) == []


def test_omniglot_has_its_own_rows():
    made = build(record(dataset="omniglot", model="avae"), record("m", dataset="omniglot", model="adgm", labels=500))
    assert rows_of_ours(made["table3"]) == ["ADGM-500, IW=1 (ours)", "AVAE, L=2, IW=1 (ours)"]
    assert rows_of_ours(made["table1"]) == []


def test_their_protocol_is_the_columns():
    odd = record("odd", "short", model="vae", pixel_scale=255.0)
    with pytest.raises(UserError, match=r"Table 1, F_k: record odd has dataset.pixel_scale 255.0, not 256.0"):
        build(record("a", labels=0), record("b"), odd)
    table = build(record("a", labels=0), record("b"), odd, mixed=True)["table1"]
    assert notes_of(table, "VAE, L=2")[-1].startswith("protocol differs from the rest of the column")


def test_they_count_as_shown():
    read = runs(Path("x"), *BESIDE)
    assert tables.shown(read, paper.load()) == set(read)


def test_table_2_has_the_error_of_q_of_models_without_p():
    made = [record(f"t{s}", model="adgm", warmup_epochs=0, label_seed=s, error=(float(s), 0.0)) for s in (1, 2, 3)]
    tables_made = build(*made)
    group = [row for row in tables_made["table2"].rows if row.group == "ADGM, ours"]
    assert [row.cells for row in group] == [
        ("q(y|x), no temperature", "", "", "2.00 (±1.00)"),
        ("q(y|x), no temperature, difference", "", "", "+1.04"),
    ]
    notes = [tables_made["table2"].notes[number - 1] for number in group[0].notes]
    assert notes[0].startswith(f"100 labels, no temperature: {SAME}")
    assert notes[1] == (
        "100 labels, no temperature: its classifier is q(y|a,x): ours is the error of q(y|x), the mean over draws of a"
    )
    behind = tables_made["table2-runs"]
    assert cell(behind, "ADGM, 100 labels, q(y|x)", "paper") == "0.96 (±0.02)"
    assert cell(behind, "ADGM, 100 labels, q(y|x)", "difference") == "+1.04"
    assert not any(row.cells[0].startswith("ADGM, 100 labels, p(y|x)") for row in behind.rows)
    assert not any(row.cells[0].startswith("SDGM") for row in behind.rows)


def test_m2_alone_is_not_m1_m2():
    table = build(record(model="m2", warmup_epochs=0))["table2"]
    assert not any(row.ours for row in table.rows)
    assert rows_of_ours(build(record(model="m2"))["table1"]) == ["M2-100, IW=1 (ours)"]


def test_a_paper_without_the_text_has_rows_without_its_numbers():
    published = paper.load()
    text = dataclasses.replace(published["text"], rows=())
    (table, *_) = tables.build(runs(Path("x"), *BESIDE), {**published, "text": text})
    assert row_of(table, "ADGM-100").cells[:2] == ("ADGM-100, IW=1 (ours)", "")
