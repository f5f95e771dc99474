"""How every figure looks: sizes for print, colours for all eyes, and files of the same bytes each time.

Colours are Paul Tol's "muted" set (https://personal.sro.nl/~ptol/colors), which people with any common colour
blindness can tell apart, with black as the tenth. Colour is never the only cue: classes carry their number, lines a
marker and a dash pattern.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from parmesan_cagem import files
from parmesan_cagem.report.render import plain

SINGLE, DOUBLE = 3.3, 6.8  # inches: one and two columns of the paper's page
DOTS_PER_INCH = 200
CLASS_COLOURS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#000000",
)
BLUE, ORANGE, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#767676"  # Okabe and Ito's
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has it
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "image.interpolation": "nearest",
    "svg.fonttype": "path",  # letters as outlines: the same wherever it is opened
    "svg.hashsalt": "cagem",  # else the names inside are random
    "savefig.dpi": DOTS_PER_INCH,
    "figure.dpi": DOTS_PER_INCH,
    "path.simplify": True,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw and save within this: matplotlib's own defaults, whatever the user's matplotlibrc says, and ours."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def new(width: float, height: float) -> Figure:
    """An empty figure of that size in inches; no window, no global state of pyplot."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write ``<stem>.svg`` and ``<stem>.png``, atomically; the same figure gives the same bytes.

    Raises
    ------
    UserError
        A file cannot be written.
    """
    vector, raster = io.BytesIO(), io.BytesIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a run may be named in any script
        figure.draw_without_rendering()  # lays it out, once for both
        figure.set_layout_engine("none")
        figure.savefig(vector, format="svg", dpi=DOTS_PER_INCH, metadata={"Date": None, "Creator": None})
        figure.savefig(raster, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    paths = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
    files.write_together({paths[0]: vector.getvalue(), paths[1]: raster.getvalue()})
    return paths


def scatter(axes: Axes, points: NDArray[np.floating], labels: NDArray[np.int64]) -> None:
    """Draw (N, 2) points in the colour of their class, each class's number at its median.

    Classes beyond ten share one grey and carry no number: fifty colours tell nobody anything.
    """
    classes = int(labels.max(initial=-1)) + 1
    few = classes <= len(CLASS_COLOURS)
    colours = np.array(CLASS_COLOURS)[labels] if few else GREY
    # Rasterised: thousands of vector dots would make the file large and slow to print.
    axes.scatter(points[:, 0], points[:, 1], s=2.5, c=colours, linewidths=0, alpha=0.7, rasterized=True)
    if few:
        present = [c for c in range(classes) if (labels == c).any()]
        places = np.array([np.median(points[labels == c], axis=0) for c in present])
        for c, place in zip(present, _apart(places, np.ptp(points, axis=0)), strict=True):
            ring = {
                "boxstyle": "circle,pad=0.12",
                "facecolor": "white",
                "edgecolor": CLASS_COLOURS[c],
                "linewidth": 1.6,
            }
            ring["edgecolor"] = CLASS_COLOURS[c]
            axes.text(place[0], place[1], str(c), size=8, weight="bold", ha="center", va="center", bbox=ring)


def _apart(places: NDArray[np.floating], extent: NDArray[np.floating], least: float = 0.085) -> NDArray[np.floating]:
    """Push (C, 2) places away from one another until no two are nearer than ``least`` of the plot's extent."""
    at = places / np.maximum(extent, 1e-12)
    for _ in range(200):
        offsets = at[:, None] - at[None, :]  # (C, C, 2)
        offsets = offsets + 1e-6 * np.sign(np.arange(len(at))[:, None, None] - np.arange(len(at))[None, :, None])
        distances = np.sqrt((offsets**2).sum(axis=2)) + np.eye(len(at))
        push = np.maximum(least - distances, 0)[:, :, None] * offsets / distances[:, :, None]
        if not push.any():
            break
        at = at + 0.5 * push.sum(axis=1)
    return at * np.maximum(extent, 1e-12)


def variable(name: str) -> str:
    """A variable as the paper sets it.

    Examples
    --------
    >>> variable("z1"), variable("a"), variable("y")
    ('$z_1$', '$a$', '$y$')
    """
    letter, number = name[:1], name[1:]
    return f"${letter}_{{{number}}}$" if len(number) > 1 else f"${letter}_{number}$" if number else f"${letter}$"


def text(words: str) -> str:
    r"""Words that are none of ours, such as a run's name, as text: one line, and a dollar begins no formula.

    Examples
    --------
    >>> print(text("a run of $5\n"))
    a run of \$5
    """
    return plain(words).replace("$", r"\$")


def tile(images: NDArray[np.floating], columns: int, gap: int = 0) -> NDArray[np.float64]:
    """Lay (N, D) square images out row by row: one picture in [0, 1], black ink on white as print wants it."""
    count, pixels = images.shape
    side = round(pixels**0.5)
    rows, cell = -(-count // columns), side + gap
    picture = np.ones((rows * cell - gap, columns * cell - gap))
    for i, image in enumerate(images):
        top, left = i // columns * cell, i % columns * cell
        picture[top : top + side, left : left + side] = 1 - np.clip(image.reshape(side, side), 0, 1)
    return picture


def show(axes: Axes, picture: NDArray[np.floating]) -> None:
    """Put a picture from :func:`tile` into axes without ticks, framed by a thin line."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.4)
