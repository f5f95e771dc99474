"""`cagem tables`: records in, the same bytes out; what is refused, marked or left empty."""

import csv
import io
import json
import os
import re
import shutil

import pytest
from fake_runs import record, runs, write
from hypothesis import given
from hypothesis import strategies as st

from parmesan_cagem import cli
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import paper, render, tables
from parmesan_cagem.report import runs as report_runs
from parmesan_cagem.report.table import Column, Row, Table

NASTY = r"a|b <c> & d_e \f{g} 50% $h$ #i [j] `k` *l* ~m ^n"
MADE = (
    record("m0", labels=0, bound=-82.004),
    record("m100-1", bound=-79.5),
    record("m100-2", seed=2, bound=-79.9),
    record("s50", "short", labels=50, bound=-84.0, class_bn="q"),
    record("d20", "demo", labels=20, bound=-90.0, put={"git.dirty": True, "warnings": [NASTY]}),
    *(record(f"t{s}", warmup_epochs=0, label_seed=s, error=(1.5 * s, 2.0 * s)) for s in (1, 2, 3)),
    record("t20", warmup_epochs=0, labels=20, error=(10.0, 20.0)),
    record("z2", z2_dim=2),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder whose results/runs hold MADE."""
    write(tmp_path / "results" / "runs", *MADE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(*made, mixed=False):
    """The tables by name."""
    from pathlib import Path

    return {table.name: table for table in tables.build(runs(Path("x"), *made), paper.load(), mixed)}


def cell(table, label, column):
    """The cell of the first row that begins with ``label``."""
    titles = [title.title for title in table.columns]
    row = next(row for row in table.rows if row.cells[0].startswith(label))
    return row.cells[next(i for i, title in enumerate(titles) if title.startswith(column))]


def row_of(table, label):
    return next(row for row in table.rows if row.cells[0].startswith(label))


def notes_of(table, label):
    return [table.notes[number - 1] for number in row_of(table, label).notes]


def outputs(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# ---- contents


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
        assert (table.notes, table.remarks) == ((), (tables.SPREAD,) if table.name == "table2" else ())
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


# ---- protocols


PROTOCOLS = [
    ({"pixel_scale": 255.0}, {}, "dataset.pixel_scale 255.0, not 256.0"),
    ({}, {"eval.binarisation": "anew each time"}, "eval.binarisation anew each time, not fixed, seed"),
    ({}, {"dataset.sha256": "f" * 64}, "dataset.sha256 " + "f" * 64),
    ({}, {"dataset.verified": False}, "dataset.verified False, not True"),
    ({"estimator": "sampled"}, {}, "eval.estimator sampled, not marginal"),
    ({"bn_eval": "collect"}, {}, "eval.bn_mode collect, not ema"),
]


@pytest.mark.parametrize("other", [{"labels": 50}, {"seed": 2}], ids=["another cell", "the same cell"])
@pytest.mark.parametrize(("changes", "put", "message"), PROTOCOLS, ids=[p[2].split()[0] for p in PROTOCOLS])
def test_a_column_of_two_protocols_is_refused_or_marked(changes, put, message, other):
    made = [record("a"), record("b", labels=0), record("odd", put=put, **{**other, **changes})]
    with pytest.raises(UserError) as error:
        build(*made)
    assert "\n" not in str(error.value)
    for text in (message, "Table 1", "record odd", "record b", "--mixed"):
        assert text in str(error.value)
    table = build(*made, mixed=True)["table1"]
    if "labels" in other:
        assert any(message in note for note in notes_of(table, "CaGeM-50"))
        assert notes_of(table, "CaGeM-100") == []
    else:  # two protocols are never averaged
        assert cell(table, "CaGeM-100", "seeds") == "1"
        assert notes_of(table, "CaGeM-100")[0] == "of equal standing and not shown: odd"


def test_errors_know_no_estimator():
    made = [record(f"t{s}", warmup_epochs=0, label_seed=s) for s in (1, 2)]
    odd = record("t3", warmup_epochs=0, label_seed=3, estimator="sampled")
    assert cell(build(*made, odd)["table2-runs"], "CaGeM, 100 labels", "label subsets") == "1, 2, 3"


@pytest.mark.parametrize(
    "changes",
    [{"eval_seed": 5}, {"iw_samples": 100}, {"eval_images": 500}],
    ids=str,
)
def test_seeds_and_sizes_of_evaluations_may_differ(changes):
    build(record("a"), record("b", labels=0, **changes))


def test_a_run_of_less_standing_may_have_another_protocol():
    table = build(record("a"), record("b", "short", pixel_scale=255.0))["table1"]
    assert notes_of(table, "CaGeM-100") == []


# ---- the command


def test_it_writes_every_table_in_every_format(folder, capsys):
    assert cli.main(["tables"]) == 0
    names = {f"{name}.{kind}" for name in build() for kind in ("csv", "tex")}
    assert outputs(folder / "results").keys() == {*names, "TABLES.md"}
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 10 records fill no cell: z2"


def test_the_same_records_give_the_same_bytes_wherever_and_in_whatever_order(folder):
    assert cli.main(["tables", "--out", "one"]) == 0
    moved = folder / "elsewhere"
    for number, path in enumerate(sorted((folder / "results" / "runs").iterdir(), reverse=True)):
        shutil.move(path, moved / str(number) / path.name)
    os.rename(folder / "results", folder / "gone")
    assert cli.main(["tables", "--out", "two", "--records", "elsewhere"]) == 0
    files = [str(path) for path in moved.glob("**/record.json")][::-1]
    assert cli.main(["tables", "--out", "three", "--records", *files]) == 0
    one = outputs(folder / "one")
    assert len(one) == 11
    assert one == outputs(folder / "two") == outputs(folder / "three")
    assert not any(str(folder).encode() in content for content in one.values())


def test_no_time_of_day_stands_in_the_output(folder):
    assert cli.main(["tables"]) == 0
    text = b"".join(outputs(folder / "results").values()).decode()
    assert not re.search(r"20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", text)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("git.commit", None, "git.commit: null"),
        ("eval.git.commit", None, "eval.git.commit: null"),
        ("seed", -1, "seed: -1 is less"),
        ("versions", {}, "versions: "),
        ("device", "", "device: "),
        ("label_seed", "one", "label_seed: "),
        ("schema_version", 1, "schema_version: 2 was expected"),
        ("model", "vae", "model: vae, but config.model is cagem"),
        ("dataset.labelled", 20, "dataset.labelled: 20, but config.labels is 100"),
        ("dataset.pixel_scale", 255.0, "dataset.pixel_scale: 255.0, but config.pixel_scale is 256.0"),
        ("config.warmup_epochs", "ten", "config.warmup_epochs: 'ten' is no int"),
        ("config.skip", 1, "config.skip: 1 is no bool"),
    ],
)
@pytest.mark.parametrize("mode", [[], ["--check"], ["--mixed"]], ids=["write", "check", "mixed"])
def test_a_bad_record_is_refused_by_file_and_key(folder, capsys, key, value, message, mode):
    path = folder / "results" / "runs" / "z2" / "record.json"
    content = json.loads(path.read_text())
    *parents, leaf = key.split(".")
    inner = content
    for parent in parents:
        inner = inner[parent]
    inner[leaf] = value
    path.write_text(json.dumps(content))
    assert cli.main(["tables", *mode]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "results/runs/z2/record.json: " + message in said
    assert not (folder / "results" / "TABLES.md").exists()


def test_mixed_protocols_end_with_2_and_pass_with_the_flag(folder, capsys):
    write(folder / "results" / "runs", record("odd", labels=0, clusters=20, pixel_scale=255.0))
    assert cli.main(["tables"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "record odd has dataset.pixel_scale 255.0, not 256.0 as record" in said
    assert cli.main(["tables", "--mixed"]) == 0
    assert "dataset.pixel\\_scale 255.0, not 256.0" in (folder / "results" / "TABLES.md").read_text()


def test_records_that_are_not_there(folder, capsys):
    assert cli.main(["tables", "--records", "nowhere"]) == 2
    assert "--records nowhere: does not exist" in capsys.readouterr().err
    (folder / "empty").mkdir()
    assert cli.main(["tables", "--records", "empty"]) == 0


def test_an_output_folder_that_is_a_file(folder, capsys):
    (folder / "file").write_text("")
    assert cli.main(["tables", "--out", "file"]) == 2
    assert "--out file: File exists" in capsys.readouterr().err


def test_a_copied_run_is_reported(folder, capsys):
    shutil.copytree(folder / "results" / "runs" / "m0", folder / "results" / "runs" / "copy")
    assert cli.main(["tables"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 11 records fill no cell: m0, z2"


def test_neither_theano_nor_jax_is_imported(folder):
    import subprocess
    import sys

    code = (
        "import sys; from parmesan_cagem import cli; assert cli.main(['tables']) == 0; "
        "print(sorted({'theano', 'lasagne', 'jax', 'scipy', 'h5py'} & sys.modules.keys()))"
    )
    path = os.pathsep.join([str(paper.CHECKOUT.parent.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_runs_are_read_in_an_order_of_their_own(tmp_path):
    write(tmp_path / "b", record("a", seed=2))
    write(tmp_path / "a", record("b"))
    write(tmp_path / "c", record("a", seed=1))
    found = report_runs.read([tmp_path])
    assert [(run.name, run.record["seed"]) for run in found] == [("a", 1), ("a", 2), ("b", 1)]
    assert found[0].folder == tmp_path / "c" / "a"


# ---- formats

WORDS = Table(
    "words",
    NASTY,
    (Column(NASTY), Column("number", True)),
    (Row(NASTY, ("[x]", "-1.50"), True, (1, 2)), Row("", ("*y*\nz\x00", ""), False)),
    (NASTY, "second"),
    (NASTY,),
)


def test_markdown_has_as_many_cells_in_each_line_whatever_the_text():
    lines = [line for line in render.markdown(WORDS).splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}


@pytest.mark.parametrize("character", list("\\`*_[]<>|~&$"))
def test_markdown_leaves_no_special_character_bare(character):
    assert render.escape_markdown(f"a{character}b") == f"a\\{character}b"


@given(st.text())
def test_markdown_round_trips(text):
    assert re.sub(r"\\([\\`*_\[\]<>|~&$])", r"\1", render.escape_markdown(text)) == render.plain(text)


@given(st.text(alphabet='\\{}[]&%$#_^~|<>*"-\n 1aé±'))
def test_latex_leaves_nothing_unescaped_and_is_balanced(text):
    escaped = render.escape_latex(text)
    rest = re.sub(r"\\text[a-z]+\{\}|\\[{}&%$#_]|\$\\pm\$|\$-\$|\{\[\}|\{\]\}|\{\*\}|-\{\}", "", escaped)
    assert not re.search(r"[\\{}\[&%$#_^~|<>*\"\n]", rest)
    depth = 0
    for found in re.findall(r"(?<!\\)[{}]", escaped.replace("\\\\", "")):
        depth += 1 if found == "{" else -1
        assert depth >= 0
    assert depth == 0


@pytest.mark.parametrize("name", ["table1", "table2", "table2-runs", "table3", "text", "words"])
def test_latex_is_whole(name):
    table = WORDS if name == "words" else build(*MADE)[name]
    text = render.latex(table)
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert len(re.findall(r"(?<!\\)\{", code)) == len(re.findall(r"(?<!\\)\}", code))
    for word in ("toprule", "midrule", "bottomrule", "begin{tabular}", "end{tabular}"):
        assert code.count("\\" + word) == 1
    wide = len(table.columns)
    body = code.partition("\\midrule\n")[2].partition("\\bottomrule")[0]
    for line in body.splitlines():
        if line.startswith(("\\multicolumn", "\\addlinespace")):
            continue
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == wide - 1
        assert line[0] not in "[*"
    assert len(re.findall(r"\\begin\{tabular\}\{([lr]+)\}", code)[0]) == wide


def test_csv_reads_back():
    rows = list(csv.reader(io.StringIO(render.comma_separated(WORDS))))
    assert rows[0] == ["group", NASTY, "number", "notes"]
    assert rows[1] == [NASTY, "[x]", "-1.50", f"{NASTY}; second"]
    assert rows[2] == ["", "*y* z", "", ""]
    text = render.comma_separated(build(*MADE)["table1"])
    assert {len(row) for row in csv.reader(io.StringIO(text))} == {16}


def test_a_group_has_its_heading_once():
    text = render.markdown(build()["table1"])
    assert text.count("**Permutation invariant**") == 1
    assert text.index("VLAE") < text.index("**Permutation invariant**") < text.index("AVAE")
