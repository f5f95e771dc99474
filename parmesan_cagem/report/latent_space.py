"""Figures of the latent space: 3 (the plane of a 2-d z2) and 5 (principal components of z1 and z2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from parmesan_cagem.report import style

Points = NDArray[np.floating]
_ACROSS = 3  # panels side by side on a page


def plane(
    z2: Points,
    labels: NDArray[np.int64],
    box: tuple[Points, Points],
    random: Points,
    conditional: Points,
    given: str,
) -> Figure:
    """Figure 3: random samples over the mesh grid, the latent space with the grid's box, class-conditional samples.

    Parameters
    ----------
    z2 : (N, 2) float
        One sample of q(z2|x,y,z1) for every test image.
    labels : (N,) int64
        Their true classes.
    box : tuple of (2,) float
        Lowest and highest corner of the grid.
    random, conditional : (side * side, D) float
        Means of p(x|y,z1) from the top left of the box, row by row; with y ~ p(y|z2), and with y given.
    given : str
        The class that is given, in words.
    """
    side = round(len(random) ** 0.5)
    with style.style():
        figure = style.new(style.DOUBLE, 2.55)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.12, 1))
        for axes, images, title in (
            (left, random, "random: $y \\sim p(y|z_2)$"),
            (right, conditional, f"class-conditional: {given}"),
        ):
            style.show(axes, style.tile(images, side))
            axes.set_title(title)
            axes.set_xlabel("first unit of $z_2$ in the box")
        left.set_ylabel("second unit")
        style.scatter(middle, z2, labels)
        low, high = box
        middle.add_patch(
            Rectangle((low[0], low[1]), *(high - low), fill=False, edgecolor="black", linewidth=1.2, zorder=3)
        )
        reach = max(float(np.abs(np.concatenate([z2, [low, high]])).max()) * 1.03, 1e-6)
        middle.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        middle.set(xlabel="first unit of $z_2$", title="test images; box: the grid")
    return figure


def components(models: Mapping[str, tuple[Mapping[str, Points], NDArray[np.int64]]]) -> Figure:
    """Figure 5: the first two principal components of samples of z1 (top) and z2 (bottom), coloured by true class.

    Parameters
    ----------
    models : mapping
        Title -> (name of a variable -> its draws, (N, units), and the true classes, (N,)): one ancestral draw an image.
        Of several models z1 and z2 are shown, and nothing where one lacks z2; of a single one every variable.
    """
    with style.style():
        if len(models) == 1:
            ((title, (z, labels)),) = models.items()
            names = sorted(z, key=_rank)
            across = min(len(names), _ACROSS)
            down = -(-len(names) // across)
            figure = style.new(style.DOUBLE * across / _ACROSS, 2.55 if down == 1 else 2.45 * down)
            cells = list(figure.subplots(down, across, squeeze=False).flat)
            shown = [(axes, title, name, z[name], labels) for axes, name in zip(cells, names, strict=False)]
        else:
            figure = style.new(style.DOUBLE * len(models) / _ACROSS, 4.9)
            grid = figure.subplots(2, len(models))
            cells = list(grid.flat)
            shown = [
                (axes, title, name, z[name], labels)
                for column, (title, (z, labels)) in enumerate(models.items())
                for axes, name in zip(grid[:, column], ("z1", "z2"), strict=True)
                if name in z
            ]
        for axes, title, name, values, labels in shown:
            _principal(axes, values, labels)
            axes.set_title(f"{title}, {style.variable(name)}")
        for axes in cells:
            axes.set_visible(any(axes is used for used, *_ in shown))
    return figure


def _rank(name: str) -> tuple[bool, int, str]:
    """Sorts z1, z2 ... before auxiliary variables."""
    return not name.startswith("z"), len(name), name


def _principal(axes: Axes, values: Points, labels: NDArray[np.int64]) -> None:
    count = min(2, values.shape[1])
    pca = PCA(n_components=count, svd_solver="full").fit(values.astype(np.float64))
    points = pca.transform(values.astype(np.float64))  # (N, 2)
    if count == 1:
        points = np.stack([points[:, 0], np.zeros(len(points))], axis=1)
    style.scatter(axes, points, labels)
    shares = [f"{100 * share:.0f} %" for share in pca.explained_variance_ratio_] + ["0 %"]
    axes.set(xlabel=f"component 1 ({shares[0]})", ylabel=f"component 2 ({shares[1]})")
    axes.set(xticks=[], yticks=[], box_aspect=1)
    axes.set_aspect("equal", adjustable="datalim")
