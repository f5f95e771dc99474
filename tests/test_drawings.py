"""The drawings themselves: the same bytes each time, readable letters, and the numbers that they show."""

import numpy as np
import pytest
from figure_runs import entry
from matplotlib.figure import Figure
from record_example import example

from parmesan_cagem.errors import UserError
from parmesan_cagem.report import curves, label_curve, latent_space, paper, pictures, style


def drawings():
    rng = np.random.default_rng(0)
    z1, z2, labels = rng.normal(size=(60, 5)), rng.normal(size=(60, 2)), np.arange(60) % 10
    images, box = rng.random((16, 9)), (np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    bounds = {n: example() for n in (0, 100)}
    log = [entry(i) for i in range(1, 13)]
    return {
        "plane": lambda: latent_space.plane(z2, labels, box, images, images, "$y$ = 2"),
        "components": lambda: latent_space.components(
            {"CaGeM-0": ({"z1": z1, "z2": z2}, labels), "CaGeM-100": ({"z1": z2, "z2": z1}, labels)}
        ),
        "fifty classes": lambda: latent_space.components({"OMNIGLOT": ({"z1": z1, "z2": z2}, np.arange(60) % 50)}),
        "one dimension": lambda: latent_space.components({"narrow": ({"z1": z1, "z2": z1[:, :1]}, labels)}),
        "five layers": lambda: latent_space.components({"LVAE": ({f"z{i}": z1 for i in range(1, 6)}, labels)}),
        "no z2": lambda: latent_space.components({"VAE": ({"z1": z1}, labels), "M2-100": ({"z1": z2}, labels)}),
        "generations": lambda: pictures.generations(images, images, images),
        "generations of a baseline": lambda: pictures.generations(images, images, images, cagem=False),
        "bounds": lambda: label_curve.bounds(bounds, {0: -81.6, 100: -79.38}),
        "curves": lambda: curves.curves("run", log, example()),
        "curves, no labels": lambda: curves.curves("run", [entry(i, False) for i in (1, 2)]),
        "curves, one epoch": lambda: curves.curves("run", log[:1]),
        "curves, five layers": lambda: curves.curves("run", [layered(i) for i in range(1, 13)]),
        "curves, auxiliary": lambda: curves.curves("run", [auxiliary(i) for i in range(1, 13)]),
    }


def layered(epoch):
    """An epoch of a model without y."""
    return {"epoch": epoch, "temperature": 1.0, "F": -90 - 1 / epoch, **{f"KL_z{i}": 20.0 / i for i in range(1, 6)}}


def auxiliary(epoch):
    """An epoch of a model with a class, an auxiliary variable and a bound on pairs."""
    without = {name: value for name, value in entry(epoch).items() if name not in ("KL_z2", "H_p", "labelled")}
    return {**without, "KL_a": 3.0, "KL_z1_sampled": 7.0, "F_labelled": -85.0 - epoch}


@pytest.mark.parametrize("which", ["a norm", "one term", "all terms", "shares"])
def test_what_no_axis_can_show_is_a_gap(which, tmp_path):
    """Weights may explode and stay finite: their log is sound, and the rest of it is drawn."""
    log = [entry(i) for i in range(1, 13)]
    huge = {
        "a norm": {"norm_weights": 1e200},
        "one term": {"KL_z1": 1e16, "F": -1e300, "heldout": {"F": -1e30, "H_q": 10**20, "H_p": 1.0}},
        "all terms": {name: 1e200 for name in log[0] if name.startswith(("F", "KL"))},
        "shares": {"usage": [1e200 for _ in log[0]["usage"]]},
    }[which]
    exploded = log if which == "all terms" else log[4:6]
    for one in exploded:
        one.update(huge)
    figure = curves.curves("run", log, example())
    style.save(figure, tmp_path / "x")
    bound = figure.axes[0].lines[0].get_ydata()
    assert list(np.isnan(bound)) == [one["F"] < -1e15 or one["F"] > 1e15 for one in log]
    low, high = figure.axes[0].get_ylim()
    assert high - low < 1e6


def test_an_epoch_that_no_run_reaches_is_damage():
    with pytest.raises(UserError, match="do not follow one another"):
        curves.curves("run", [entry(1), {**entry(2), "epoch": 10**18}])


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
    assert label_curve.published(paper.load()["table1"]) == {0: -81.60, 20: -81.47, 50: -80.49, 100: -79.38}


def test_published_numbers_may_be_absent():
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


def test_a_model_without_y_has_neither_cross_entropies_nor_clusters():
    bound, divergence = curves.curves("run", [layered(i) for i in range(1, 6)]).axes
    assert [line.get_label() for line in bound.lines] == ["training"]
    assert [line.get_label() for line in divergence.lines] == [f"$z_{i}$" for i in range(1, 6)]
    assert [line.get_ydata()[0] for line in divergence.lines] == [20.0, 10.0, 20 / 3, 5.0, 4.0]
    assert len({line.get_color() for line in divergence.lines}) == 5
    assert len({line.get_marker() for line in divergence.lines}) == 5


def test_a_baseline_with_a_class_has_its_own_terms():
    record = {**example(), "error_p": None}
    figure = curves.curves("run", [auxiliary(i) for i in range(1, 6)], record)
    bound, divergence, entropies, _ = figure.axes
    assert bound.lines[-1].get_ydata().tolist() == [-86.0, -87.0, -88.0, -89.0, -90.0]
    assert [line.get_label() for line in divergence.lines] == ["$z_1$", "$y$", "$a$"]  # sampled ones are the same term
    assert len(entropies.lines) == 1
    assert [text.get_text() for text in entropies.get_legend().get_texts()] == ["$H_q$", "training"]
    assert "error 5.00 % of $q(y|x)$" in figure.get_suptitle()
    assert "p(y|x)" not in figure.get_suptitle()


def test_figure_5_leaves_a_place_empty_where_a_model_has_no_z2():
    z, labels = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 10
    figure = latent_space.components({"VAE": ({"z1": z}, labels), "CaGeM-0": ({"z1": z, "z2": z}, labels)})
    shown = [(axes.get_visible(), axes.get_title()) for axes in figure.axes]
    assert shown == [(True, "VAE, $z_1$"), (True, "CaGeM-0, $z_1$"), (False, ""), (True, "CaGeM-0, $z_2$")]


def test_of_a_single_model_every_variable_is_shown_z_first():
    z, labels = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 10
    names = ("a2", "z1", "a1", "z2")
    figure = latent_space.components({"AVAE": ({name: z for name in names}, labels)})
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert titles == [f"AVAE, ${name[0]}_{name[1]}$" for name in ("z1", "z2", "a1", "a2")]


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
