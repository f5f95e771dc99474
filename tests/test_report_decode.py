"""The explorer's plane is what the model says: sheets and probabilities against the forward pass in NumPy."""

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import toy
from PIL import Image
from scipy.special import expit, softmax

from parmesan_cagem import engines
from parmesan_cagem.report import decode, explorer, sprites, style
from parmesan_cagem.trained import Trained

SIDE = 4


@pytest.fixture(scope="module")
def trained():
    built = toy.model(x_dim=SIDE**2, z2_dim=2, clusters=3, labels=0, pixel_scale=255.0)
    return Trained(Path("toy"), built.experiment, built, {"epoch": 1}, "0" * 64, ())


@pytest.fixture(scope="module")
def data():
    draws = np.random.default_rng(0)
    images = draws.integers(256, size=(30, SIDE**2), dtype=np.uint8)
    return SimpleNamespace(test_images=images, test_labels=np.arange(30) % 3)


@pytest.fixture(scope="module")
def plane(trained, data):
    return decode.plane(trained, engines.get(engines.default()), data)


def test_each_tile_is_the_mean_image_of_its_class_and_point(trained, plane):
    oracle, n = toy.Oracle.of(trained.model), plane.points
    across = np.linspace(-3, 3, n)
    for c, png in enumerate(plane.sheets):
        tiles = np.asarray(Image.open(io.BytesIO(png)), dtype=int)
        for row, column in ((0, 0), (0, n - 1), (n // 2, n // 2), (5, 20), (n - 1, 3)):
            z2 = np.array([[across[column], across[n - 1 - row]]])  # the top row has the greatest z2[1]
            y = oracle.one_hot(np.array([c]))
            mu, _ = oracle.p_z1(y, z2)
            image = expit(oracle.p_x(y, mu)).reshape(SIDE, SIDE)
            tile = tiles[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            assert np.abs(tile / 255 - image).max() < 0.5 / 63 + 0.5 / 255 + 1e-5
            p = softmax(oracle.p_y(z2)[0])
            assert np.abs(plane.probabilities[row, column] / 255 - p).max() < 0.5 / 255 + 1e-5


def test_dots_are_test_images_with_their_classes(plane, data):
    assert len(plane.dots) == len(plane.dot_classes)
    assert len(plane.dots) + plane.outside == len(data.test_labels)
    assert np.abs(plane.dots).max() <= sprites.REACH
    stored = json.loads(sprites.to_json(plane))["dots"]
    assert [c for _, _, c in stored] == plane.dot_classes.tolist()


def test_without_data_there_are_no_dots(trained, plane):
    bare = decode.plane(trained, engines.get(engines.default()), None)
    assert (bare.dots, bare.sheets) == (None, plane.sheets)
    html = explorer.section(bare, "run")
    assert "no test images are shown" in html
    assert "explorer-dots" not in html


def test_the_script_reads_the_sheets_of_this_plane(plane):
    html = explorer.section(plane, "run")
    stored = json.loads(re.search(r'id="explorer-data">(.*?)</script>', html).group(1))
    assert [base64.b64decode(uri.split(",")[1]) for uri in stored["sheets"]] == list(plane.sheets)
    assert f'id="digit" width="{SIDE}" height="{SIDE}"' in html


def test_the_explorer_has_the_figures_colours():
    script = Path(explorer.__file__).with_name("explorer.js").read_text(encoding="utf-8")
    assert " ".join(style.CLASS_COLOURS) in script
