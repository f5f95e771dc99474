"""``cagem figures`` on small runs: files, choices, refusals, what is kept, and the bytes of drawings."""

import contextlib
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from matplotlib.figure import Figure
from PIL import Image
from record_example import example

from parmesan_cagem import checkpoint, cli, data, engines, gallery, records, trained, view_cache
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import choice, curves, label_curve, latent_space, pictures, style

D, TEST = 9, 60
SMALL = {"wide": 4, "narrow": 3, "z1_dim": 3, "clusters": 10}


def small_data():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (TEST, D), dtype=np.uint8), np.arange(TEST) % 10
    return Dataset("mnist", 10, images, labels, images, labels, source="noise", sha256="5" * 64)


@pytest.fixture(autouse=True, scope="module")
def small_world():
    """Small data, and an engine that compiles nothing; counts how often each was asked for."""
    counts = SimpleNamespace(data=0, engine=0)

    def load(name, data_dir):
        counts.data += 1
        return small_data()

    def get(name, *_):
        counts.engine += 1
        return toy.ENGINE

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", load)
        patch.setattr(engines, "get", get)
        yield counts


@pytest.fixture
def undrawn(monkeypatch):
    """For what does not depend on the pictures: they are made, and their files are empty."""

    def save(figure, stem):
        paths = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
        for path in paths:
            path.touch()
        return paths

    monkeypatch.setattr(style, "save", save)


def entry(epoch, labelled=True):
    terms = {"F": -90 - 50 / epoch, "KL_z1": 20.0 / epoch, "KL_z2": 10.0, "KL_y": 0.5, "usage": [0.1] * 10}
    monitored = {"labelled": {"F": -89.0, "H_q": 1e-4, "H_p": 0.1}} if labelled else {}
    return {
        "epoch": epoch,
        "temperature": min(1, epoch / 3),
        **terms,
        **({"H_q": 0.1, "H_p": 0.2} if labelled else {}),
        **monitored,
    }


def make_run(folder, epochs=2, weights=True, record=False, seed=0, logged=True, **settings):
    """A run's folder as training leaves it, with random weights."""
    e = Experiment(**{**SMALL, "epochs": epochs, **settings})
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(e.to_dict()))
    lines = [{"versions": {}}, *(entry(i, e.labels > 0) for i in range(1, epochs * logged + 1))]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if weights:
        built = toy.CaGeM(e, D)
        toy.randomise(built, seed)
        arrays = {f"weights/{name}": value for name, value in toy.weights_of(built).items()}
        checkpoint.save(folder, arrays, {"config": e.to_dict(), "epoch": epochs})
    if record:
        content = example() | {"name": folder.name, "epochs": epochs}
        records.write(folder / "record.json", content)
    return folder


def figures(*flags):
    """(exit status, lines on stdout, lines on stderr)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(["figures", *map(str, flags)])
    return status, out.getvalue().splitlines(), err.getvalue().splitlines()


def make_runs(folder):
    """A 2-d run, a CaGeM-0 and a CaGeM-100 with 32 dimensions. Curves take longest to draw: one run has a log."""
    make_run(folder / "plane", labels=100, z2_dim=2, record=True, logged=False)
    make_run(folder / "zero", labels=0, record=True, seed=1)
    make_run(folder / "hundred", labels=100, epochs=3, record=True, seed=2, logged=False)
    return folder


@pytest.fixture
def runs(tmp_path):
    return make_runs(tmp_path / "runs")


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
        "figure5: VAE: no VAE run: panel left out",
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


def test_a_plane_needs_two_dimensions(runs):
    with pytest.raises(UserError, match="z2 has 32 dimensions, and Figure 3 shows a plane; train with --z2-dim 2"):
        gallery.Gallery(None, "c").plane(choice.read(runs / "zero", print), 2)


# What is kept


@pytest.mark.parametrize(
    "harm",
    [
        lambda raw: b"",
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :],
        lambda raw: b"no zip",
    ],
    ids=["empty", "cut", "a bit", "other"],
)
def test_a_damaged_file_is_made_anew(tmp_path, harm):
    def big():
        return {"a": np.arange(5000.0)}

    view_cache.cached(tmp_path, "view", {"k": 1}, big)
    path = tmp_path / view_cache.NAME
    sound = path.read_bytes()
    path.write_bytes(harm(sound))
    calls = []
    arrays = view_cache.cached(tmp_path, "view", {"k": 1}, lambda: calls.append(1) or big())
    assert calls == [1]
    assert arrays["a"].tolist() == big()["a"].tolist()
    assert path.read_bytes() == sound


def test_another_key_replaces_a_view_and_leaves_the_others(tmp_path):
    make = iter(range(10))

    def cached(name, **key):
        return int(view_cache.cached(tmp_path, name, key, lambda: {"n": np.array(next(make))})["n"])

    assert [cached("one", k=1), cached("two", k=1), cached("one", k=1)] == [0, 1, 0]
    assert [cached("one", k=2), cached("one", k=1), cached("two", k=1)] == [2, 3, 1]


def test_a_folder_that_cannot_be_written_still_gives_arrays(tmp_path):
    arrays = view_cache.cached(tmp_path / "absent", "view", {}, lambda: {"n": np.array(1)})
    assert arrays["n"] == 1


def test_a_new_version_makes_views_anew(tmp_path, monkeypatch):
    view_cache.cached(tmp_path, "view", {}, lambda: {"n": np.array(1)})
    monkeypatch.setattr(view_cache, "VERSION", view_cache.VERSION + 1)
    assert view_cache.cached(tmp_path, "view", {}, lambda: {"n": np.array(2)})["n"] == 2


def test_other_weights_make_views_stale(runs):
    run = choice.read(runs / "zero", print)
    before = gallery.Gallery(None, "c").latents(run)
    e = Experiment.from_dict(run.config)
    built = toy.CaGeM(e, D)
    toy.randomise(built, 9)
    weights = {f"weights/{name}": value for name, value in toy.weights_of(built).items()}
    checkpoint.save(run.folder, weights, {"config": run.config, "epoch": 3})
    after = gallery.Gallery(None, "c").latents(run)
    assert not np.allclose(before["z2"], after["z2"])
    assert after["labels"].tolist() == (np.arange(TEST) % 10).tolist()


def test_weights_that_change_meanwhile_are_not_kept(runs, monkeypatch):
    """A run in training writes a checkpoint between the look at its digest and the load of its weights."""
    run = choice.read(runs / "zero", print)
    monkeypatch.setattr(trained, "identify", lambda folder: "0" * 64)
    with pytest.raises(UserError, match="changed meanwhile"):
        gallery.Gallery(None, "c").latents(run)
    assert not (run.folder / view_cache.NAME).exists()


def test_identify_is_the_digest_of_the_loaded_weights(runs):
    assert trained.identify(runs / "zero") == trained.load(runs / "zero").sha256
    assert trained.identify(runs / "zero") != trained.identify(runs / "hundred")


def test_the_grid_is_the_square_that_holds_19_in_20(runs):
    run, arrays = choice.read(runs / "plane", print), gallery.Gallery(None, "c")
    grid, z2 = arrays.plane(run, 3), arrays.latents(run)["z2"]
    low, high = grid["low"], grid["high"]
    assert (high - low)[0] == pytest.approx((high - low)[1])
    inside = ((z2 >= low) & (z2 <= high)).all(axis=1)
    assert 0.93 <= inside.mean() <= 0.97
    assert grid["random"].shape == grid["conditional"].shape == (400, D)


# Drawings


def drawings():
    rng = np.random.default_rng(0)
    z1, z2, labels = rng.normal(size=(60, 5)), rng.normal(size=(60, 2)), np.arange(60) % 10
    images, box = rng.random((16, 9)), (np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    bounds = {n: example() for n in (0, 100)}
    log = [entry(i) for i in range(1, 13)]
    return {
        "plane": lambda: latent_space.plane(z2, labels, box, images, images, "$y$ = 2"),
        "components": lambda: latent_space.components({"CaGeM-0": (z1, z2, labels), "CaGeM-100": (z2, z1, labels)}),
        "fifty classes": lambda: latent_space.components({"OMNIGLOT": (z1, z2, np.arange(60) % 50)}),
        "one dimension": lambda: latent_space.components({"narrow": (z1, z1[:, :1], labels)}),
        "generations": lambda: pictures.generations(images, images, images),
        "bounds": lambda: label_curve.bounds(bounds, {0: -81.6, 100: -79.38}),
        "curves": lambda: curves.curves("run", log, example()),
        "curves, no labels": lambda: curves.curves("run", [entry(i, False) for i in (1, 2)]),
        "curves, one epoch": lambda: curves.curves("run", log[:1]),
    }


@pytest.mark.parametrize("name", drawings())
def test_two_drawings_have_the_same_bytes(name, tmp_path):
    make = drawings()[name]
    first = [path.read_bytes() for path in style.save(make(), tmp_path / "a")]
    second = [path.read_bytes() for path in style.save(make(), tmp_path / "b")]
    assert first == second
    vector = first[0].decode()
    assert len(vector) < 1_000_000
    assert "<dc:date>" not in vector
    assert "<text" not in vector  # letters are outlines: no font is needed to read it
    assert "file:" not in vector


@pytest.mark.parametrize("name", drawings())
def test_letters_are_at_least_8_points_and_lie_inside(name):
    with style.style():
        figure = drawings()[name]()
        figure.draw_without_rendering()
        texts = [t for t in figure.findobj(lambda a: hasattr(a, "get_fontsize")) if t.get_visible() and t.get_text()]
        assert texts
        assert min(t.get_fontsize() for t in texts) >= 8
        page = figure.bbox
        for text in texts:
            if text.axes is None or text.get_text() in {t.get_text() for t in text.axes.get_xticklabels()}:
                continue
            box = text.get_window_extent()
            assert box.x0 >= page.x0 - 1, text.get_text()
            assert box.x1 <= page.x1 + 1, text.get_text()
            assert box.y1 <= page.y1 + 1, text.get_text()


def test_the_user_s_matplotlibrc_does_not_matter(tmp_path):
    import matplotlib as mpl

    make = drawings()["bounds"]
    plain = style.save(make(), tmp_path / "a")[0].read_bytes()
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.fonttype": "none", "svg.hashsalt": None}):
        assert style.save(make(), tmp_path / "b")[0].read_bytes() == plain
        assert mpl.rcParams["font.size"] == 20  # ... and is left alone


def lines_of(figure: Figure):
    return {c.get_label(): c for axes in figure.axes for c in axes.containers}


def test_figure_4_has_a_line_for_every_k_that_records_have():
    bounds = {n: example() for n in (0, 20, 100)}
    for n, record in bounds.items():
        for bound in record["bounds"].values():
            bound["mean"] += n
    del bounds[20]["bounds"]["F_10"]
    bounds[100]["bounds"]["F_100"] = bounds[100]["bounds"].pop("F_5000")
    figure = label_curve.bounds(bounds, {0: -81.6})
    drawn = {label: c[0].get_xydata().tolist() for label, c in lines_of(figure).items()}
    assert drawn == {
        "ours, $k$ = 5000": [[0, -90.25], [20, -70.25]],
        "ours, $k$ = 100": [[100, 9.75]],
        "ours, $k$ = 10": [[0, -91.0], [100, 9.0]],
        "ours, $k$ = 1": [[0, -92.25], [20, -72.25], [100, 7.75]],
    }


def test_figure_4_has_the_published_numbers():
    assert label_curve.published() == {0: -81.60, 20: -81.47, 50: -80.49, 100: -79.38}


def test_published_numbers_may_be_absent(tmp_path):
    assert label_curve.published(tmp_path / "paper.json") == {}
    assert lines_of(label_curve.bounds({0: example()}, {})).keys() == {
        "ours, $k$ = 1",
        "ours, $k$ = 10",
        "ours, $k$ = 5000",
    }


def test_curves_show_the_log():
    figure = curves.curves("run", [{"versions": {}}, *(entry(i) for i in range(1, 6))], example())
    bound, divergence, entropies, _ = figure.axes
    assert [line.get_label() for line in bound.lines] == ["training", "labelled"]
    assert bound.lines[0].get_xydata().tolist() == [[i, -90 - 50 / i] for i in range(1, 6)]
    assert [line.get_ydata()[1] for line in divergence.lines] == [10.0, 10.0, 0.5]
    assert [line.get_ydata()[0] for line in entropies.lines] == [0.1, 1e-4, 0.2, 0.1]
    shaded = [patch for patch in bound.patches if patch.get_zorder() == 0]
    assert [shaded[0].get_x(), shaded[0].get_x() + shaded[0].get_width()] == [0.5, 2.5]  # T = 1/3, 2/3, then 1
    title = figure.get_suptitle()
    assert "−90.25 ± 0.50 nats" in title
    assert "5.00 % of $q(y|x)$, 22.00 % of $p(y|x)$" in title


def test_tiles_lie_row_by_row_in_black_on_white():
    images = np.stack([np.full(4, 0.25 * i) for i in range(3)])
    assert style.tile(images, 2, gap=1).tolist() == [
        [1, 1, 1, 0.75, 0.75],
        [1, 1, 1, 0.75, 0.75],
        [1, 1, 1, 1, 1],
        [0.5, 0.5, 1, 1, 1],
        [0.5, 0.5, 1, 1, 1],
    ]


def test_numbers_of_classes_do_not_cover_each_other():
    moved = style._apart(np.zeros((10, 2)), np.array([4.0, 2.0]))
    apart = np.linalg.norm((moved[:, None] - moved[None]) / [4.0, 2.0], axis=2) + np.eye(10)
    assert apart.min() > 0.08
    far = np.array([[0.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(style._apart(far, np.ones(2)), far, atol=1e-5)


def test_the_ten_colours_differ_in_colour_and_are_ten():
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in style.CLASS_COLOURS])
    distances = np.abs(rgb[:, None] - rgb[None]).sum(axis=2) + 1000 * np.eye(10)
    assert rgb.shape == (10, 3)
    assert distances.min() > 60
