"""The figures of ``cagem figures``, each with the caption of the paper's figure that it stands beside."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parmesan_cagem import files
from parmesan_cagem.errors import UserError
from parmesan_cagem.report import explorer
from parmesan_cagem.report.inputs import read
from parmesan_cagem.report.markup import Html, element, join, picture, scroller


@dataclass(frozen=True)
class Figure:
    """A figure of the paper.

    Attributes
    ----------
    stem : str
        Name of its SVG in the folder of the figures, without the ending.
    title, paper : str
        What ours shows; the paper's caption, word for word.
    needs : tuple of str
        The commands of the runs it is made from.
    """

    stem: str
    title: str
    paper: str
    needs: tuple[str, ...]


FIGURES = (
    Figure(
        "figure3",
        "A 2-d z2 space: random samples (y ~ p(y|z2)), the latent space, samples with the class fixed",
        "Figure 3: Visualizations from CaGeM-100 with a 2-dimensional z2 space. The middle plot shows the latent "
        "space, from which we generate random samples (left) and class conditional random samples (right) with a "
        "mesh grid (black bounding box). The relative placement of the samples in the scatter plot corresponds to "
        "a digit in the mesh grid.",
        (explorer.COMMAND,),
    ),
    Figure(
        "figure4",
        "The bound against the number of labels",
        "Figure 4: Log-likelihood scores for CaGeM on MNIST with 0, 20, 50 and 100 labels with 1, 10 and 5000 IW "
        "samples.",
        tuple(f"python run_mnist.py --labels {n}" for n in (0, 20, 50, 100)),
    ),
    Figure(
        "figure5",
        "Principal components of z1 and z2, one ancestral draw an image",
        "Figure 5: PCA plots of the stochastic units z1 and z2 in a 2-layered model trained on MNIST. The colors "
        "corresponds to the true labels.",
        tuple(f"python run_mnist.py {flags}" for flags in ("--model vae", "--labels 0", "--labels 100")),
    ),
    Figure(
        "figure6",
        "OMNIGLOT: input, reconstruction, sample",
        "Figure 6: Generations from CaGeM-500. (left) The input images, (middle) the reconstructions, and (right) "
        "random samples from z2.",
        ("python run_omniglot.py --labels 500",),
    ),
)


def section(folder: Path, figures: Sequence[Figure] = FIGURES) -> Html:
    """Every figure there is, and for the others the commands that make them."""
    captions = _captions(folder)
    return join([_figure(folder, figure, captions.get(figure.stem)) for figure in figures])


def _figure(folder: Path, figure: Figure, ours: Any) -> Html:
    # A file that captions.json does not know is left from an earlier drawing, of runs that nobody can tell.
    svg = read(folder / f"{figure.stem}.svg") if ours is not None else None
    paper = element("p", element("em", "The paper's caption. "), figure.paper, class_="quiet")
    if svg is None:
        missing = element(
            "p",
            f"{figure.title}: not there yet. It needs ",
            join([element("code", command) for command in figure.needs], ", "),
            ", then ",
            element("code", "cagem figures"),
            " draws it.",
            class_="missing",
        )
        return element("figure", missing, element("figcaption", paper), id=figure.stem)
    image = picture("image/svg+xml", svg, f"{figure.title}. {figure.paper}", class_="plate")
    caption, runs = _said(ours)
    title = element("p", element("strong", f"{figure.title}. "), caption, f" Of {', '.join(runs)}." if runs else None)
    return element("figure", scroller(image, figure.title), element("figcaption", title, paper), id=figure.stem)


def _captions(folder: Path) -> dict[str, Any]:
    """What ``cagem figures`` says of each figure: {stem: {"caption": ..., "runs": [...]}}; without it, nothing."""
    with contextlib.suppress(UserError):
        return files.read_json(folder / "captions.json", "`cagem figures` writes it anew")
    return {}


def _said(ours: Any) -> tuple[str, list[str]]:
    if not isinstance(ours, dict):
        return "", []
    runs = ours.get("runs")
    return str(ours.get("caption", "")), [str(run) for run in runs] if isinstance(runs, list) else []
