"""``cagem figures`` on small runs: files, choices of runs, and refusals."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

import figure_runs
import pytest
from figure_runs import make_run, make_runs
from PIL import Image

from parmesan_cagem import cli
from parmesan_cagem.report import choice, style


@pytest.fixture(autouse=True, scope="module")
def small_world():
    with figure_runs.small_world() as counts:
        yield counts


@pytest.fixture
def runs(tmp_path):
    return make_runs(tmp_path / "runs")


@pytest.fixture
def undrawn(monkeypatch):
    """For what does not depend on the pictures: they are made, and their files are empty."""

    def save(figure, stem):
        paths = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
        for path in paths:
            path.touch()
        return paths

    monkeypatch.setattr(style, "save", save)


def figures(*flags):
    """(exit status, lines on stdout, lines on stderr)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["figures", *map(str, flags)])
    return status, out.getvalue().splitlines(), err.getvalue().splitlines()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, small_world):
    """The command, twice: its outputs, its folders, and the numbers of loads."""
    folder = tmp_path_factory.mktemp("drawn")
    runs, first, second = make_runs(folder / "runs"), folder / "first", folder / "second"
    before = vars(small_world).copy()
    results = figures("--runs", runs, "--out", first), figures("--runs", runs, "--out", second)
    loads = {name: count - before[name] for name, count in vars(small_world).items()}
    return SimpleNamespace(results=results, first=first, second=second, loads=loads)


# The command


def test_every_figure_with_a_run_is_drawn(drawn):
    status, lines, errors = drawn.results[0]
    assert (status, errors) == (0, [])
    names = ["curves-zero", "figure3", "figure4", "figure5"]
    assert sorted(p.name for p in drawn.first.iterdir()) == sorted(
        ["captions.json", *(f"{n}.{kind}" for n in names for kind in ("png", "svg"))]
    )
    widths = {}
    for name in names:
        with Image.open(drawn.first / f"{name}.png") as image:
            widths[name] = image.width
    assert widths == dict.fromkeys(names, 1360) | {"figure4": 660, "figure5": 906}
    assert any(line.startswith("figure3: plane (2 epochs) -> ") for line in lines)
    assert any(line.startswith("figure5: zero (2 epochs), hundred (3 epochs) -> ") for line in lines)
    captions = json.loads((drawn.first / "captions.json").read_text())
    assert captions["figure5"]["runs"] == ["zero", "hundred"]
    assert "y = 2" in captions["figure3"]["caption"]


def test_what_is_missing_is_said_and_is_no_error(drawn):
    assert [line for line in drawn.results[0][1] if "->" not in line] == [
        "figure4: no record with 20 labels; make one: python run_mnist.py --labels 20",
        "figure4: no record with 50 labels; make one: python run_mnist.py --labels 50",
        "figure5: VAE: no run; make one: python run_mnist.py --model vae",
        "figure6: no run; make one: python run_omniglot.py --labels 500",
    ]


def test_the_second_time_nothing_is_computed_and_all_bytes_are_the_same(drawn):
    assert drawn.loads == {"data": 2, "engine": 1}
    assert sorted(p.name for p in drawn.first.iterdir()) == sorted(p.name for p in drawn.second.iterdir())
    for path in drawn.first.iterdir():
        assert path.read_bytes() == (drawn.second / path.name).read_bytes(), path.name


def test_no_runs_at_all(tmp_path, undrawn):
    status, lines, errors = figures("--runs", tmp_path / "none", "--out", tmp_path / "out")
    assert (status, errors) == (0, [])
    assert lines[0] == f"no run in {tmp_path / 'none'}"
    assert lines[1] == "figure3: no run; make one: python run_mnist.py --labels 100 --z2-dim 2"
    assert not (tmp_path / "out").exists()


def test_a_single_run_is_drawn_into_its_folder(runs, undrawn):
    status, _, errors = figures(runs / "plane")
    assert (status, errors) == (0, [])
    drawn = {p.stem for p in (runs / "plane").glob("*.svg")}
    assert drawn == {"generations", "latents", "plane"}
    assert figures(runs / "zero")[0] == 0
    assert {p.stem for p in (runs / "zero").glob("*.svg")} == {"curves", "generations", "latents"}


@pytest.mark.parametrize("changes", [{}, {"layers": 1}], ids=["two layers", "one"])
def test_a_single_run_of_a_model_without_y_has_its_pictures(tmp_path, undrawn, changes):
    make_run(tmp_path / "vae", model="vae", labels=0, z2_dim=2, **changes)
    status, _, errors = figures(tmp_path / "vae", "--out", tmp_path / "out")
    assert (status, errors) == (0, [])
    assert {p.stem for p in (tmp_path / "out").glob("*.svg")} == {"curves", "generations", "latents"}


def test_figure_5_begins_with_the_vae_that_has_most_epochs(runs, tmp_path, undrawn):
    vae = {"model": "vae", "labels": 0}
    make_run(runs / "vae", **vae)
    make_run(runs / "averaged", epochs=9, train_iw=5, iw_objective="averaged", **vae)
    make_run(runs / "one layer", epochs=9, layers=1, **vae)
    status, lines, _ = figures("--runs", runs, "--out", tmp_path / "out")
    assert status == 0
    assert any(line.startswith("figure5: vae (2 epochs), zero (2 epochs), hundred (3 epochs) -> ") for line in lines)
    assert not any(line.startswith("figure5: VAE") for line in lines)


def test_a_run_without_weights_has_curves_only(tmp_path, undrawn):
    make_run(tmp_path / "run", weights=False)
    status, lines, _ = figures(tmp_path / "run")
    assert status == 0
    assert lines[-1] == "pictures: run has no checkpoint"
    assert {p.stem for p in (tmp_path / "run").glob("*.svg")} == {"curves"}


def test_a_folder_that_is_no_run_is_one_line(tmp_path, undrawn):
    status, _, errors = figures(tmp_path)
    assert status == 2
    assert len(errors) == 1
    assert "name a folder that run_mnist.py or the like wrote" in errors[0]


def test_a_class_that_does_not_exist_spoils_figure_3_alone(runs, tmp_path, undrawn):
    status, lines, errors = figures("--runs", runs, "--out", tmp_path / "out", "--class", 10)
    assert status == 2
    assert errors == ["cagem: not drawn: figure3; the lines above say why"]
    assert "figure3: --class 10: the model has clusters 0 to 9; give one of them" in lines
    assert (tmp_path / "out" / "figure5.png").exists()


def test_damaged_runs_and_records_are_said_and_left_out(runs, tmp_path, undrawn):
    (runs / "zero" / "record.json").write_text("{}")
    (runs / "hundred" / "config.json").write_text("{")
    status, lines, _ = figures("--runs", runs, "--out", tmp_path / "out")
    assert status == 0
    assert any(re.match("zero: its record is left out: .*record.json: ", line) for line in lines)
    assert any(re.match("hundred: left out: .*not JSON", line) for line in lines)
    assert any(line.startswith("figure5: zero (2 epochs) ->") for line in lines)


def test_a_missing_out_folder_that_cannot_be_made_is_one_line(runs, tmp_path, undrawn):
    (tmp_path / "file").write_text("")
    status, _, errors = figures("--runs", runs, "--out", tmp_path / "file" / "out")
    assert (status, len(errors)) == (2, 1)
    assert "name another folder" in errors[0]


# Which run


def test_most_epochs_then_the_name(tmp_path):
    for name, epochs in (("b", 3), ("a", 3), ("c", 2)):
        make_run(tmp_path / name, epochs=epochs, weights=False)
    make_run(tmp_path / "ablation", epochs=9, weights=False, routing="full")
    found = choice.find(tmp_path, print)
    assert choice.choose(found, labels=100).folder.name == "a"
    assert choice.choose(found, labels=100, routing="full").folder.name == "ablation"
    assert choice.choose(found, labels=lambda n: n == 0) is None
