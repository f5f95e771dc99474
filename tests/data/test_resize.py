"""The resize against implementations that share nothing with it: loops over taps, Pillow, whole numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from omniglot_files import drawing
from PIL import Image

from parmesan_cagem.data.resize import matrix, resize

INK = np.stack([drawing(0, 1, drawer) for drawer in range(1, 5)] + [np.eye(105, dtype=bool)])
IMAGES = arrays(bool, (1, 105, 105), elements=st.booleans())


def keys_cubic(x):
    if abs(x) <= 1:
        return 1.5 * abs(x) ** 3 - 2.5 * abs(x) ** 2 + 1
    if abs(x) <= 2:
        return -0.5 * abs(x) ** 3 + 2.5 * abs(x) ** 2 - 4 * abs(x) + 2
    return 0.0


def taps(output):
    """Of output pixel 1 .. 28: (input pixel 1 .. 105, weight) pairs, counted as MATLAB counts."""
    s = 28 / 105
    u = output / s + (1 - 1 / s) / 2
    pairs = [(q, keys_cubic(s * (u - q))) for q in range(-20, 130)]
    total = sum(weight for _, weight in pairs)
    reflected = {q: 1 - q if q < 1 else 211 - q if q > 105 else q for q, _ in pairs}
    return [(reflected[q], weight / total) for q, weight in pairs if weight]


def by_loops(ink):
    small = np.zeros((len(ink), 28, 28))
    for i in range(28):
        for j in range(28):
            for q, vertical in taps(i + 1):
                for r, horizontal in taps(j + 1):
                    small[:, i, j] += vertical * horizontal * ink[:, q - 1, r - 1]
    return np.minimum(np.maximum(small, 0), 1)


def test_it_is_the_convolution_written_out_in_loops():
    np.testing.assert_allclose(resize(INK).reshape(-1, 28, 28), by_loops(INK), atol=1e-6)


def test_inside_it_is_pillows_bicubic():
    """Which treats the edges otherwise."""
    for ink, small in zip(INK, resize(INK), strict=True):
        pillow = np.asarray(Image.fromarray(ink.astype(np.float32)).resize((28, 28), Image.Resampling.BICUBIC))
        np.testing.assert_allclose(small.reshape(28, 28)[3:-3, 3:-3], np.clip(pillow, 0, 1)[3:-3, 3:-3], atol=2e-6)


@settings(max_examples=25, deadline=None)
@given(IMAGES)
def test_it_is_exact_in_whole_numbers(ink):
    """So its bits depend on no BLAS: float64 held every partial sum."""
    weights = np.rint(matrix() * 2**25).astype(np.int64)
    assert (weights / 2**25 == matrix()).all()
    assert int(np.abs(weights).sum(axis=1).max()) ** 2 < 2**53
    small = weights @ ink[0].astype(np.int64) @ weights.T
    expected = np.clip(small / 2**50, 0, 1).astype(np.float32)
    assert resize(ink).tobytes() == expected.tobytes()


@settings(max_examples=25, deadline=None)
@given(IMAGES)
def test_turning_an_image_turns_the_result(ink):
    upright = resize(ink).reshape(28, 28)
    assert np.array_equal(resize(ink.transpose(0, 2, 1)).reshape(28, 28), upright.T)
    np.testing.assert_allclose(resize(ink[:, ::-1]).reshape(28, 28), upright[::-1], atol=1e-6)
    assert upright.min() >= 0
    assert upright.max() <= 1


@pytest.mark.parametrize("value", [False, True])
def test_a_plain_image_stays_plain(value):
    np.testing.assert_allclose(resize(np.full((1, 105, 105), value)), value, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_shapes_and_blocks(count, monkeypatch):
    whole = resize(INK[:count])
    monkeypatch.setattr("parmesan_cagem.data.resize._ROWS", 2)
    assert (whole.shape, whole.dtype) == ((count, 784), np.float32)
    assert resize(INK[:count]).tobytes() == whole.tobytes()
