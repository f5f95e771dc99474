"""105x105 pixels of ink to 28x28 probabilities, as MATLAB's imresize does it; the same bits on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGE, SMALL = 105, 28  # pixels a side
# Weights are whole multiples of this. Ink is 0 or 1, so every product and every partial sum of the resize is a whole
# multiple of its square and below 2^53 of them: exact in float64, whatever the order in which a BLAS adds.
_UNIT = 2.0**-25
_ROWS = 1000  # images per block: bounds the memory


def matrix() -> NDArray[np.float64]:
    """The weights of MATLAB's ``imresize(image, [28 28])`` along one axis.

    Keys' cubic with a = -0.5, stretched by 105/28 against aliasing, edges reflected, each row divided by its sum; then
    rounded to multiples of 2^-25 (3e-8, below the rounding of float32).

    Returns
    -------
    (28, 105) float64
        Row o holds the weights of output pixel o.

    Examples
    --------
    >>> bool(np.all(abs(matrix().sum(axis=1) - 1) < 1e-6))
    True
    """
    scale = SMALL / LARGE
    centres = (np.arange(SMALL) + 0.5) / scale - 0.5  # (28,), in input pixels
    reach = int(np.ceil(2 / scale))
    weights = np.zeros((SMALL, LARGE))
    for output, centre in enumerate(centres):
        taps = np.arange(int(centre) - reach, int(centre) + reach + 2)  # (17,)
        inside = np.where(taps < 0, -1 - taps, np.where(taps >= LARGE, 2 * LARGE - 1 - taps, taps))
        np.add.at(weights[output], inside, _cubic(scale * (centre - taps)))
    return np.asarray(np.rint(weights / weights.sum(axis=1, keepdims=True) / _UNIT) * _UNIT)


def resize(ink: NDArray[np.bool_]) -> NDArray[np.float32]:
    """``clip(M ink M', 0, 1)`` of every image, M being :func:`matrix`.

    Parameters
    ----------
    ink : (N, 105, 105) bool

    Returns
    -------
    (N, 784) float32
        Probabilities, row by row.
    """
    weights = matrix() / _UNIT
    small = np.empty((len(ink), SMALL * SMALL), np.float32)
    for start in range(0, len(ink), _ROWS):
        large = ink[start : start + _ROWS].astype(np.float64)  # (rows, 105, 105)
        both = weights @ (large @ weights.T)  # (rows, 28, 28)
        small[start : start + _ROWS] = np.clip(both * _UNIT**2, 0, 1).reshape(len(large), -1)
    return small


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(distance)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
