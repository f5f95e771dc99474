"""Figure 6: what goes in, what comes back, and what the model makes up."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from parmesan_cagem.report import style


def generations(
    inputs: NDArray[np.floating],
    reconstructions: NDArray[np.floating],
    samples: NDArray[np.floating],
    cagem: bool = True,
) -> Figure:
    """Figure 6: (left) input images, (middle) their reconstructions, (right) random samples from z2.

    Parameters
    ----------
    inputs, reconstructions, samples : (side * side, D) float
        Values in [0, 1]; pairs of the first two stand in the same place.
    cagem : bool
        Whether the titles may name CaGeM's distributions.
    """
    side = round(len(inputs) ** 0.5)
    with style.style():
        figure = style.new(style.DOUBLE, 2.5)
        titles = ("reconstructions $p(x|y,z_1)$", "samples from $z_2$")
        others = ("reconstructions", "samples of the prior")
        panels = zip((inputs, reconstructions, samples), ("inputs $x$", *(titles if cagem else others)), strict=True)
        for axes, (images, title) in zip(figure.subplots(1, 3), panels, strict=True):
            style.show(axes, style.tile(images, side, gap=2))
            axes.set_title(title)
    return figure
