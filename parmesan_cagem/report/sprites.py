"""A 2-d z2 plane decoded on a grid, for every class: what the latent explorer moves through."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from parmesan_cagem.report.markup import data_uri

REACH = 3.0  # the plane shown is [-3, 3] in both directions: 99.5 % of z2 ~ N(0, I)
POINTS = 25  # a side, with ten classes: steps of 0.25
LEVELS = 64  # of gray: the page is half the size of one with 256, and looks the same
_TILES = 10 * POINTS**2  # more classes share these: the page's size depends little on K


@dataclass(frozen=True, eq=False)
class Plane:
    """The grid, as rows of a picture are read: from the top left, z2 = (-3, 3), rightwards.

    Attributes
    ----------
    sheets : tuple of bytes
        A grayscale PNG for each of the K classes, points x points tiles of an image each: p(x = 1) in 64 levels
        from 0 to 255.
    probabilities : (points, points, K) uint8
        round(255 p(y|z2)).
    dots : (N, 2) float or None
        z2 of test images.
    dot_classes : (N,) int or None
        Their true classes.
    outside : int
        How many more fell outside the plane.
    """

    sheets: tuple[bytes, ...]
    probabilities: NDArray[np.uint8]
    dots: NDArray[np.floating] | None = None
    dot_classes: NDArray[np.integer] | None = None
    outside: int = 0

    @property
    def points(self) -> int:
        """Points of a side of the grid."""
        return len(self.probabilities)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.sheets)

    @property
    def side(self) -> int:
        """Pixels of a side of an image."""
        return Image.open(io.BytesIO(self.sheets[0])).width // self.points


def points_of_a_side(classes: int) -> int:
    """25 for up to ten classes; fewer for more, odd so that the origin is one of them.

    Examples
    --------
    >>> points_of_a_side(10), points_of_a_side(20), points_of_a_side(50)
    (25, 17, 11)
    """
    side = int((_TILES / max(classes, 10)) ** 0.5)
    return max(side - 1 + side % 2, 3)


def sheet(images: NDArray[np.floating], points: int) -> bytes:
    """Images side by side as one grayscale PNG.

    Parameters
    ----------
    images : (points * points, D) float
        Values in [0, 1]; D is a square number of pixels.
    """
    side = round(images.shape[1] ** 0.5)
    levels = np.round((LEVELS - 1) * np.clip(images, 0, 1)) / (LEVELS - 1)
    pixels = np.round(255 * levels).astype(np.uint8)
    tiles = pixels.reshape(points, points, side, side).transpose(0, 2, 1, 3)  # (row, y, column, x)
    data = io.BytesIO()
    Image.fromarray(tiles.reshape(points * side, points * side)).save(data, "PNG", optimize=True)
    return data.getvalue()


def quantised(probabilities: NDArray[np.floating], points: int) -> NDArray[np.uint8]:
    """Probabilities as bytes: (points * points, K) in [0, 1] -> (points, points, K)."""
    return np.round(255 * np.clip(probabilities, 0, 1)).astype(np.uint8).reshape(points, points, -1)


def labels(probabilities: NDArray[np.uint8]) -> list[tuple[float, float] | None]:
    """Where to write each class: the point of its region that is farthest from the region's edge.

    Parameters
    ----------
    probabilities : (points, points, K) uint8

    Returns
    -------
    list of (float, float) or None
        z2 for each class; None for one that is most probable nowhere.
    """
    points, _, classes = probabilities.shape
    winner = probabilities.argmax(axis=2)
    across = np.linspace(-REACH, REACH, points)
    found: list[tuple[float, float] | None] = []
    for c in range(classes):
        inside = np.pad(winner == c, 1)  # the plane's border is an edge too
        if not inside.any():
            found.append(None)
            continue
        row, column = np.unravel_index(distance_transform_edt(inside).argmax(), inside.shape)
        found.append((float(across[column - 1]), float(-across[row - 1])))
    return found


def to_json(plane: Plane) -> str:
    """All that the script needs, as JSON that may stand in a ``<script>``: without ``<``, ``>`` and ``&``."""
    value: dict[str, Any] = {
        "points": plane.points,
        "classes": plane.classes,
        "side": plane.side,
        "reach": REACH,
        "sheets": [data_uri("image/png", png) for png in plane.sheets],
        "probabilities": base64.b64encode(plane.probabilities.tobytes()).decode("ascii"),
        "labels": labels(plane.probabilities),
        "dots": [],
    }
    if plane.dots is not None and plane.dot_classes is not None:
        value["dots"] = [
            [round(float(x), 3), round(float(y), 3), int(c)]
            for (x, y), c in zip(plane.dots, plane.dot_classes, strict=True)
        ]
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
