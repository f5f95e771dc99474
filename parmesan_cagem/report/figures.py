"""Pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parmesan_cagem import files

GAP, ZOOM = 2, 2


def save_grid(images: NDArray[np.floating], path: Path) -> None:
    """Write a grid of square images as a PNG, white ink on black as in the data.

    Parameters
    ----------
    images : (rows, columns, D) float
        Values in [0, 1]; D is a square number of pixels.
    """
    rows, columns, pixels = images.shape
    side = round(pixels**0.5)
    cell = side + GAP
    canvas = np.full((rows * cell + GAP, columns * cell + GAP), 96, dtype=np.uint8)
    for r in range(rows):
        for c in range(columns):
            top, left = GAP + r * cell, GAP + c * cell
            picture = np.clip(images[r, c].reshape(side, side), 0, 1)
            canvas[top : top + side, left : left + side] = np.round(255 * picture)
    picture = Image.fromarray(canvas)
    data = io.BytesIO()
    picture.resize((picture.width * ZOOM, picture.height * ZOOM), Image.Resampling.NEAREST).save(data, "PNG")
    files.write_atomically(path, data.getvalue())
