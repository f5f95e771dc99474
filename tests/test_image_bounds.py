"""Bounds image by image: what is read is the record's, differences are paired, and what does not fit is left alone."""

import dataclasses
import shutil

import numpy as np
import pytest
from fake_runs import record
from small_runs import called, train

from parmesan_cagem import image_bounds, records
from parmesan_cagem.data.labels import indices_sha256
from parmesan_cagem.errors import UserError
from parmesan_cagem.image_bounds import ImageBounds
from parmesan_cagem.ledger import LEDGER, Ledger
from parmesan_cagem.report import inputs, paired, paper, render, tables
from parmesan_cagem.report.protocol import obstacle
from parmesan_cagem.report.runs import Run


@pytest.fixture
def run(evaluated, tmp_path):
    return shutil.copytree(evaluated, tmp_path / "run")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The same run from another seed."""
    out = tmp_path_factory.mktemp("other")
    train(out, "--labels", "20", "--seed", "2")
    return out / "run"


def of(folder):
    """A run's bounds, from the ledger of its evaluation."""
    ledger, record = Ledger.read(folder / LEDGER), records.read(folder / "record.json")
    tables = [ledger.kept(f"bounds/k 10, marginal, batch norm ema, seed {s}/values") for s in record["eval"]["seeds"]]
    images = np.flatnonzero(ledger.kept("bounds/k 10, marginal, batch norm ema, seed 1/done"))
    return ImageBounds(images, {"F_1": [one[images, 2] for one in tables], "F_10": [one[images, 1] for one in tables]})


@pytest.mark.parametrize("seeds", [1, 2])
def test_an_evaluation_writes_what_it_found(run, seeds):
    if seeds > 1:
        status, _, told = called("cagem", "evaluate", run, "--eval-seeds", "2", "--no-progress")
        assert status == 0, told
    record, expected = records.read(run / "record.json"), of(run)
    found = image_bounds.read(run, record)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert list(found.by_name) == ["F_1", "F_10"]
    for name, by_seed in found.by_name.items():
        assert len(by_seed) == seeds
        np.testing.assert_allclose(by_seed, expected.by_name[name], rtol=0, atol=5.1e-7)
        assert np.mean(by_seed) == pytest.approx(record["bounds"][name]["mean"], abs=1e-6)


def test_compare_pairs_the_images(run, other):
    status, printed, told = called("cagem", "compare", run, other)
    assert (status, told) == (0, "")
    first, second = ({name: v[0] for name, v in of(folder).by_name.items()} for folder in (run, other))
    expected = []
    for name in ("F_10", "F_1"):
        less = second[name] - first[name]
        expected += [second[name].mean(), less.mean(), less.std(ddof=1) / np.sqrt(20)]
    heading, its, line, below = printed.splitlines()
    assert heading.split() == ["epochs", "F_10", "less", "the", "first's", "F_1", "less", "the", "first's"]
    assert its.split() == ["run", "1", *(f"{first[name].mean():.2f}" for name in ("F_10", "F_1"))]
    numbers = "{:.2f}  {:+.2f} +- {:.2f} {:.2f}  {:+.2f} +- {:.2f}".format(*expected)
    assert line.split() == ["run", "1", *numbers.split()]
    assert below == "20 test images; +- is the standard error over images, not over seeds"


def test_a_run_less_itself_is_nothing(run):
    one = of(run)
    assert image_bounds.difference(one, one, "F_10") == (0.0, 0.0)
    single = ImageBounds(one.indices[:1], {"F_10": [one.by_name["F_10"][0][:1]]})
    assert image_bounds.difference(single, single, "F_10") == (0.0, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (("--iw-samples", "20"), "eval.k 20, not 10"),
        (("--eval-images", "10"), "eval.indices_sha256 "),
        (("--eval-seed", "2"), "eval.seeds [2], not [1]"),
        (("--bn-eval", "collect"), "eval.bn_mode collect, not ema"),
        (("--estimator", "sampled"), "eval.estimator sampled, not marginal"),
    ],
)
def test_unlike_evaluations_are_not_compared(run, other, tmp_path, changes, reason):
    unlike = shutil.copytree(other, tmp_path / "unlike")
    assert called("cagem", "evaluate", unlike, *changes, "--no-progress")[0] == 0
    status, printed, told = called("cagem", "compare", run, unlike)
    assert (status, printed, told.count("\n")) == (2, "", 1)
    assert told.startswith(f"cagem: {unlike}: ")
    assert reason in told
    assert f"as of {run}; evaluate both alike" in told


def test_without_numbers_of_single_images_nothing_is_compared(run, other):
    (run / "bounds.csv").unlink()
    status, _, told = called("cagem", "compare", run, other)
    assert (status, told) == (2, f"cagem: {run}: no bounds.csv of its record; `cagem evaluate {run}` writes it\n")


def test_held_out_images_of_another_split_are_not_paired():
    one, other, nobody = (
        record(eval_split="heldout", holdout=10000, label_seed=1),
        record(eval_split="heldout", holdout=10000, label_seed=2),
        record(label_seed=2),
    )
    assert obstacle(one, one) == obstacle(nobody, record()) == ""
    assert obstacle(one, other) == "label_seed 2, not 1"
    assert obstacle(one, nobody) == "eval_split test, not heldout"


def test_with_one_sample_there_is_one_bound(run):
    assert called("cagem", "evaluate", run, "--iw-samples", "1", "--no-progress")[0] == 0
    assert (run / "bounds.csv").read_text().startswith("seed,image,F_1\n1,")
    heading, line, _ = called("cagem", "compare", run, run)[1].splitlines()[:3]
    assert heading.split() == ["epochs", "F_1", "less", "the", "first's"]
    assert len(line.split()) == 3


HEAD = "seed,image,F_1,F_10"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{HEAD}\n \n", "no table of numbers (its head is all)"),
        (f"{HEAD}\n1,0.5,-1,-1\n", "no table of 4 finite numbers a line, the first two whole"),
        (f"{HEAD}\n1,1e300,-1,-1\n", "no table of 4 finite numbers a line"),
        (f"{HEAD}\n1,0,-1,-1e308\n", "no table of 4 finite numbers a line"),
        (f"{HEAD}\n1,0,-1.5,nan\n", "no table of 4 finite numbers a line"),
        (f"{HEAD}\n1,0,-1.5\n", "no table of 4 finite numbers a line"),
        (f"{HEAD}\n1,0,-1.5,x\n", "no table of numbers (could not convert string 'x' to float64"),
        (f"{HEAD}\n1,0,-1,-1\n1,1,-1\n", "no table of numbers (the number of columns changed"),
        (f"{HEAD}\n1,0,-1.5,−1\n", "no table of numbers ('ascii' codec can't decode"),
    ],
)
def test_a_damaged_file_is_refused_by_name(run, text, reason):
    (run / "bounds.csv").write_text(text)
    status, _, told = called("cagem", "compare", run, run)
    assert (status, told.count("\n")) == (2, 1)
    assert told.startswith(f"cagem: {run}/bounds.csv: {reason}")
    assert told.endswith(f"; remove it; `cagem evaluate {run}` writes it anew\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("F_10", "F_5000"),  # of another evaluation
        lambda text: text.replace("\n1,", "\n2,"),  # of another seed
        lambda text: text.rsplit("\n", 2)[0],  # of fewer images
        lambda text: text.replace(".", ".9"),  # other numbers
    ],
    ids=["k", "seed", "images", "numbers"],
)
def test_a_file_of_another_evaluation_counts_as_none(run, change):
    path, record = run / "bounds.csv", records.read(run / "record.json")
    assert image_bounds.read(run, record) is not None
    path.write_text(change(path.read_text()))
    assert image_bounds.read(run, record) is None
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=r"bounds\.csv: cannot read: not a regular file; remove it"):
        image_bounds.read(run, record)


def fake(folder, name, bounds, k=5000, **settings):
    """A run with these F_k of four images, F_1 a nat below, and their ``bounds.csv``."""
    indices, made = np.arange(4), record(name, **settings)
    found = ImageBounds(indices, {"F_1": [np.array(bounds) - 1.0], f"F_{k}": [np.array(bounds)]})
    made["eval"] |= {"indices_sha256": indices_sha256(indices), "images": 4, "k": k}
    for key, (values,) in found.by_name.items():
        made["bounds"][key] = {"mean": values.mean(), "standard_error": 0.5, "by_seed": [values.mean()]}
    (folder / name).mkdir()
    image_bounds.write(folder / name, [1], found)
    return Run(folder / name, made, image_bounds.read(folder / name, made))


def test_table_1_is_paired_with_the_vae(tmp_path):
    vae = fake(tmp_path, "vae", [-80, -81, -82, -85], labels=0, model="vae")
    runs = [
        vae,
        fake(tmp_path, "cagem", [-79, -80, -80, -83], labels=100),
        fake(tmp_path, "lvae", [-81, -81, -84, -86], labels=0, model="lvae", epochs=900),
        fake(tmp_path, "elsewhere", [-70, -70, -70, -70], labels=50, k=100),
    ]
    made = paired.table(runs)
    cells = [row.cells for row in made.rows]
    assert cells == [
        # Differences 1, 1, 2, 2 and -1, 0, -2, -1: standard deviations sqrt(1/3) and sqrt(2/3), over 2.
        ("CaGeM-100, L=2, IW=1", "1000", "1", "1", "4", "5000", "-80.50", "+1.50 ± 0.29", "-81.50", "+1.50 ± 0.29"),
        ("VAE, L=2, IW=1", "1000", "1", "", "4", "5000", "-82.00", "", "-83.00", ""),
        ("LVAE, L=2, IW=1", "900", "1", "", "4", "5000", "-83.00", "-1.00 ± 0.41", "-84.00", "-1.00 ± 0.41"),
    ]
    assert [row.notes for row in made.rows] == [(), (), (1,)]
    assert made.notes == ("trained for 900 epochs, the VAE for 1000",)
    assert made.remarks[0].startswith("Differences from vae are means over")
    runs[1] = dataclasses.replace(runs[1], bounds=None)
    assert [row.cells[0] for row in paired.table(runs).rows] == ["VAE, L=2, IW=1", "LVAE, L=2, IW=1"]
    assert paired.table(runs[1:]) is None  # no VAE
    assert paired.table(runs[:2]) is None  # nothing beside it


def test_of_several_vaes_the_one_that_most_can_be_paired_with_is_the_measure(tmp_path):
    vae = {"labels": 0, "model": "vae"}
    runs = [
        fake(tmp_path, "a", [-80, -81, -82, -85], **vae, put={"eval.bn_mode": "collect"}),
        fake(tmp_path, "b", [-80, -81, -82, -86], **vae, seed=2, epochs=500),
        fake(tmp_path, "c", [-80, -81, -82, -87], **vae, seed=3),
        fake(tmp_path, "cagem", [-79, -80, -80, -83], labels=100),
    ]
    made = paired.table(runs)
    assert made.remarks[0].startswith("Differences from c are")
    assert [row.cells[2] for row in made.rows if row.cells[0].startswith("VAE")] == ["2", "3"]


def test_a_table_of_pairs_that_are_gone_is_removed(tmp_path):
    folder, out = tmp_path / "runs", tmp_path / "out"
    folder.mkdir()
    for name, settings in (("vae", {"labels": 0, "model": "vae"}), ("cagem", {"labels": 100})):
        records.write(folder / name / "record.json", fake(folder, name, [-80, -81, -82, -85], **settings).record)
    files = {"table1-paired.csv", "table1-paired.tex"}
    for there in (True, False):
        assert called("cagem", "tables", "--records", folder, "--out", out)[0] == 0
        assert (files <= {path.name for path in out.iterdir()}) is there
        assert ("Differences from vae" in (out / "TABLES.md").read_text()) is there
        (folder / "vae" / "bounds.csv").unlink(missing_ok=True)
    assert not files & {path.name for path in out.iterdir()}


def test_tables_refuse_a_damaged_file_and_the_report_leaves_its_run_out(tmp_path):
    records.write(tmp_path / "cagem" / "record.json", fake(tmp_path, "cagem", [-79, -80, -80, -83]).record)
    path = tmp_path / "cagem" / "bounds.csv"
    path.write_text(path.read_text().replace("-79.000000", "nan"))
    status, _, told = called("cagem", "tables", "--records", tmp_path, "--out", tmp_path / "out")
    assert (status, told.count("\n")) == (2, 1)
    assert told.startswith(f"cagem: {path}: no table of 4 finite numbers")
    (run,), (line,) = inputs.collect(tmp_path, tmp_path / "none")
    assert run.of_tables is None
    assert line.startswith("in no table: cagem/bounds.csv: no table of 4 finite numbers")


def test_it_stands_behind_table_1_and_has_what_that_shows(tmp_path):
    runs = [
        fake(tmp_path, "vae", [-80, -81, -82, -85], labels=0, model="vae"),
        fake(tmp_path, "cagem", [-79, -80, -80, -83], labels=100),
        fake(tmp_path, "ablation", [-60, -60, -60, -60], labels=100, skip=False),
    ]
    names = [table.name for table in tables.build(runs, paper.load())]
    assert names == ["table1", "table1-paired", "table2", "table2-runs", "table3", "text"]
    made = tables.build(runs, paper.load())[1]
    assert [row.cells[0] for row in made.rows] == ["CaGeM-100, L=2, IW=1", "VAE, L=2, IW=1"]
    assert "| CaGeM-100, L=2, IW=1 | 1000 |" in render.markdown(made)
