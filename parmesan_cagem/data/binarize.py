"""Binary images, drawn once from pixel probabilities: the protocol of the test set."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parmesan_cagem.errors import UserError

_STREAM = 0xB1A5  # keeps these draws apart from others that use the same seed
_ROWS = 1000  # images per block: bounds the memory for random numbers, does not change the draws


def binarize(
    images: NDArray[np.uint8] | NDArray[np.float32],
    pixel_scale: float,
    seed: int,
    indices: ArrayLike | None = None,
) -> NDArray[np.uint8]:
    """Draw ``x ~ Bernoulli(images / pixel_scale)``, once.

    The draw of image i of the full set depends on (seed, i) alone, so for any `indices`
    ``binarize(images[indices], s, seed, indices) == binarize(images, s, seed)[indices]``.

    Parameters
    ----------
    images : (N, ...) uint8 or float32
        Pixels in 0 .. pixel_scale.
    pixel_scale : float
        The pixel value that means probability 1: 256 (Parmesan's loaders, hence the paper) or 255 (IWAE's)
        for MNIST, 1 for images that are probabilities.
    seed : int
    indices : (N,) int, optional
        The place of each image in the full set; 0 .. N - 1 when left out.

    Returns
    -------
    (N, ...) uint8
        0 or 1.

    Raises
    ------
    UserError
        If a pixel lies outside 0 .. pixel_scale.

    Examples
    --------
    >>> binarize(np.array([[0, 255, 0, 255]], dtype=np.uint8), pixel_scale=255, seed=1)
    array([[0, 1, 0, 1]], dtype=uint8)
    """
    count = len(images)
    check_pixels(images, pixel_scale)
    places = np.arange(count) if indices is None else np.asarray(indices)
    if places.shape != (count,) or (count and (places.dtype.kind not in "iu" or places.min() < 0)):
        raise ValueError(f"indices must be {count} whole numbers >= 0, one per image")
    flat = images.reshape(count, math.prod(images.shape[1:]))  # (N, pixels)
    order = np.argsort(places, kind="stable")
    ascending = places[order]
    drawn = np.empty(flat.shape, np.uint8)
    rng = np.random.default_rng([_STREAM, seed])
    # The uniforms of the full set are always drawn from image 0 on (a fraction of a second) and the wanted
    # rows kept: simpler than a generator per image, and as independent of the subset.
    for start in range(0, int(ascending[-1]) + 1 if count else 0, _ROWS):
        uniform = rng.random((_ROWS, flat.shape[1]), dtype=np.float32)  # (_ROWS, pixels)
        low, high = np.searchsorted(ascending, [start, start + _ROWS])
        rows = order[low:high]
        probability = flat[rows].astype(np.float32) / np.float32(pixel_scale)
        drawn[rows] = uniform[ascending[low:high] - start] < probability
    return drawn.reshape(images.shape)


def check_pixels(images: NDArray[np.uint8] | NDArray[np.float32], pixel_scale: float) -> None:
    """Refuse pixels that are no probabilities on that scale.

    Raises
    ------
    UserError
        Names the scale, the span of the pixels and the scales that fit.
    """
    if not (np.isfinite(pixel_scale) and pixel_scale > 0):
        raise UserError(f"--pixel-scale {pixel_scale}: must be finite and above 0; use 256 or 255 for MNIST")
    if images.size == 0:
        return
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= pixel_scale):  # written so that NaN fails too
        raise UserError(
            f"--pixel-scale {pixel_scale}: pixels must lie in 0 .. {pixel_scale}, "
            f"but they span {low:g} .. {high:g}; use 256 or 255 for MNIST, 1 for probabilities"
        )
