"""The report's explorer: tiles and probabilities as the arrays have them, labels of regions, every class."""

import base64
import io
import json

import numpy as np
import pytest
from html_pages import Page, plane, run_folder, text_of
from PIL import Image

from parmesan_cagem.report import decode, explorer, inputs, sprites


@pytest.mark.parametrize(("classes", "points", "side"), [(10, 5, 28), (2, 3, 4)])
def test_tiles_of_the_sheets_are_the_images(classes, points, side):
    made, images, p = plane(classes, points, side)
    read = json.loads(sprites.to_json(made))
    assert (read["points"], read["classes"], read["side"], read["reach"]) == (points, classes, side, 3.0)
    for c, uri in enumerate(read["sheets"]):
        picture = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))
        assert picture.mode == "L"
        sheet = np.asarray(picture)
        for row, column in np.ndindex(points, points):
            tile = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
            image = images[c, row * points + column].reshape(side, side)
            np.testing.assert_array_equal(tile, np.round(255 * image))
    stored = np.frombuffer(base64.b64decode(read["probabilities"]), np.uint8).reshape(points * points, classes)
    np.testing.assert_array_equal(stored, np.round(255 * p))


def test_a_class_is_labelled_in_the_middle_of_its_region():
    points = 31
    p = np.zeros((points, points, 3), np.uint8)
    p[:, :15, 0] = 255  # class 0 left of the middle, class 1 right of it, class 2 nowhere
    p[:, 15:, 1] = 255
    (x0, y0), (x1, y1), nowhere = sprites.labels(p)
    assert nowhere is None
    assert -2 < x0 < -1 < 1 < x1 < 2
    assert max(abs(y0), abs(y1)) < 1.7  # not in a corner


def test_class_regions_are_where_the_array_says():
    """Row 0 of the grid is z2[1] = +3."""
    p = np.zeros((5, 5, 2), np.uint8)
    p[0, :, 0] = p[1:, :, 1] = 255
    upper, lower = sprites.labels(p)
    assert upper[1] == 3
    assert lower[1] < 1


def test_sheets_keep_probabilities_to_half_a_level():
    p = np.random.default_rng(1).random((9, 16))
    tiles = np.asarray(Image.open(io.BytesIO(sprites.sheet(p, 3)))) / 255
    images = tiles.reshape(3, 4, 3, 4).transpose(0, 2, 1, 3).reshape(9, 16)
    assert np.abs(images - p).max() <= 0.5 / 63 + 0.5 / 255


@pytest.mark.parametrize("classes", [2, 10, 20, 50])
def test_the_grid_has_the_origin_and_a_bounded_number_of_tiles(classes):
    points = sprites.points_of_a_side(classes)
    assert points % 2 == 1
    assert classes * points**2 <= 10 * 25**2


def test_the_explorer_offers_every_class():
    read = Page(text_of(explorer.section(plane(classes=4)[0], "a run")))
    radios = [attrs for attrs in read.all("input") if attrs["type"] == "radio"]
    assert [attrs["value"] for attrs in radios] == ["auto", "0", "1", "2", "3"]
    assert [attrs["value"] for attrs in radios if "checked" in attrs] == ["auto"]
    assert [attrs["id"] for attrs in read.all("canvas") if attrs.get("tabindex") == "0"] == ["plane"]
    assert {"polite"} == {attrs["aria-live"] for _, attrs in read.elements if "aria-live" in attrs}


def test_a_2d_run_without_checkpoint_says_so(tmp_path):
    run_folder(tmp_path / "runs", "flat", labels=100, z2_dim=2)
    runs, _ = inputs.collect(tmp_path / "runs", tmp_path)
    html, message = decode.section(runs, None)
    assert "weights of flat" in html
    assert explorer.COMMAND in html
    assert message.startswith("no explorer: flat")
    assert str(tmp_path) not in html
