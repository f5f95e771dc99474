"""The arrays behind the pictures: of which weights they are, and when they are kept."""

import json

import figure_runs
import numpy as np
import pytest
import toy
from figure_runs import TEST, D, make_runs

from parmesan_cagem import checkpoint, gallery, models, trained, view_cache
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import choice


@pytest.fixture(autouse=True, scope="module")
def small_world():
    with figure_runs.small_world() as counts:
        yield counts


@pytest.fixture
def runs(tmp_path):
    return make_runs(tmp_path / "runs")


def test_a_plane_needs_two_dimensions(runs):
    with pytest.raises(UserError, match="z2 has 32 dimensions, and Figure 3 shows a plane; train with --z2-dim 2"):
        gallery.Gallery(None, "c").plane(choice.read(runs / "zero", print), 2)


def test_the_plane_is_cagem_s(runs):
    figure_runs.make_run(runs / "vae", model="vae", labels=0, z2_dim=2)
    with pytest.raises(UserError, match=r"vae: model vae has no p\(y\|z2\), which Figure 3 shows; name a CaGeM run"):
        gallery.Gallery(None, "c").plane(choice.read(runs / "vae", print), 2)


def test_latents_of_a_model_without_y_are_its_variables_and_labels(runs):
    figure_runs.make_run(runs / "vae", model="vae", labels=0, layers=3, z2_dim=5)
    for _ in range(2):  # computed, then kept
        arrays = gallery.Gallery(None, "c").latents(choice.read(runs / "vae", print))
        assert {name: array.shape for name, array in arrays.items()} == {
            "z1": (TEST, 3),
            "z2": (TEST, 5),
            "z3": (TEST, 2),
            "labels": (TEST,),
        }


def test_other_weights_make_views_stale(runs):
    run = choice.read(runs / "zero", print)
    before = gallery.Gallery(None, "c").latents(run)
    e = Experiment.from_dict(run.config)
    built = models.build(e, D)
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


def test_figures_of_a_checkout_without_checkpoints_keep_their_captions(tmp_path):
    from parmesan_cagem.commands.figures import _Studio

    (tmp_path / "figure3.svg").write_text("<svg/>")
    (tmp_path / "captions.json").write_text('{"figure3": {"runs": ["a"]}, "figure5": {"runs": ["gone"]}}')
    _Studio(tmp_path).write_captions()
    assert json.loads((tmp_path / "captions.json").read_text()) == {"figure3": {"runs": ["a"]}}
