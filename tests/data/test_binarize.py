"""binarize: Bernoulli draws that depend on the seed and the image's place alone."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parmesan_cagem.data import binarize as module
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.errors import UserError

IMAGES = np.random.default_rng(5).integers(0, 256, (2500, 49), dtype=np.uint8)
PROBABILITIES = (IMAGES / 255).astype(np.float32)
FULL = binarize(IMAGES, 256, seed=3)


@settings(deadline=None, max_examples=30)
@given(places=st.lists(st.integers(0, len(IMAGES) - 1), max_size=20))
def test_a_subset_by_its_indices_equals_the_subset_of_the_full_draw(places: list[int]) -> None:
    chosen = np.array(places, np.int64)  # any order, repeats too
    np.testing.assert_array_equal(binarize(IMAGES[chosen], 256, 3, chosen), FULL[chosen])


def test_the_block_size_does_not_change_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROWS", 7)  # 7 * 49 is odd: no block ends on a whole random word
    np.testing.assert_array_equal(binarize(IMAGES, 256, seed=3), FULL)


@pytest.mark.parametrize(
    ("images", "pixel_scale"),
    [
        pytest.param(np.full((1000, 784), 64, np.uint8), 256, id="uint8 over 256"),
        pytest.param(np.full((1000, 784), 51, np.uint8), 204.0, id="uint8 over a float scale"),
        pytest.param(np.full((1000, 28, 28), 0.25, np.float32), 1, id="float32 probabilities, 28 x 28"),
    ],
)
def test_the_frequency_of_ones_is_the_pixel_over_the_scale(images: np.ndarray, pixel_scale: float) -> None:
    drawn = binarize(images, pixel_scale, seed=11)
    assert drawn.shape == images.shape
    assert drawn.dtype == np.uint8
    assert set(np.unique(drawn)) == {0, 1}
    np.testing.assert_allclose(drawn.mean(), 0.25, atol=5 * np.sqrt(0.25 * 0.75 / images.size))


def test_probability_zero_never_and_one_always_gives_a_one() -> None:
    blank = np.zeros((60000, 784), np.uint8)  # with this seed five of the uniforms are exactly 0
    assert not binarize(blank, 256, seed=5).any()
    np.testing.assert_array_equal(binarize(np.ones((500, 784), np.float32), 1, 1), 1)


def test_images_and_their_pixels_are_independent() -> None:
    drawn = binarize(np.full((400, 400), 128, np.uint8), 256, seed=2).astype(float)
    rows, columns = np.corrcoef(drawn), np.corrcoef(drawn.T)
    for correlation in (rows, columns):
        assert np.abs(correlation[~np.eye(400, dtype=bool)]).max() < 6 / np.sqrt(400)


def test_seeds_give_different_draws_and_the_global_generator_is_not_used() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    again = binarize(IMAGES, 256, seed=3)
    np.testing.assert_array_equal(again, FULL)
    np.testing.assert_equal(np.random.get_state(legacy=False), before)  # noqa: NPY002
    assert 0.2 < (binarize(IMAGES, 256, seed=4) != FULL).mean() < 0.5


def test_the_draw_is_the_one_that_past_records_used() -> None:
    assert hashlib.sha256(FULL.tobytes()).hexdigest()[:16] == "13cfb440b445461e"


def test_no_images_give_no_draws() -> None:
    assert binarize(np.empty((0, 784), np.uint8), 256, 1).shape == (0, 784)


@pytest.mark.parametrize(
    ("images", "pixel_scale", "says"),
    [
        pytest.param(IMAGES, 254, r"--pixel-scale 254: .* 0 \.\. 255", id="pixels above the scale"),
        pytest.param(PROBABILITIES + np.float32(0.01), 1, "--pixel-scale 1: ", id="probability above 1"),
        pytest.param(-PROBABILITIES, 1, r"-1 \.\. ", id="negative"),
        pytest.param(np.array([[0.5, np.nan]], np.float32), 1, "nan", id="not a number"),
        pytest.param(IMAGES, 0, "--pixel-scale 0: must be finite and above 0", id="scale 0"),
        pytest.param(-PROBABILITIES, -1, "--pixel-scale -1: must be finite and above 0", id="negative scale"),
        pytest.param(IMAGES, float("nan"), "--pixel-scale nan: .*finite", id="scale not a number"),
        pytest.param(IMAGES, float("inf"), "--pixel-scale inf: .*finite", id="infinite scale"),
    ],
)
def test_bad_pixels_and_scales_are_user_errors(images: np.ndarray, pixel_scale: float, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        binarize(images, pixel_scale, seed=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "indices",
    [
        pytest.param([0], id="too few"),
        pytest.param([0, -1], id="negative"),
        pytest.param([0.0, 1.0], id="not whole"),
        pytest.param([[0, 1]], id="two dimensions"),
    ],
)
def test_bad_indices_are_refused(indices: list) -> None:
    with pytest.raises(ValueError, match="indices must be 2 whole numbers"):
        binarize(IMAGES[:2], 256, 1, indices)
