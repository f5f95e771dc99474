"""What pictures show, as arrays, of every model: latent draws, reconstructions, samples; of CaGeM the plane of z2.

Everything is ancestral: a variable is drawn given draws of those before it, never averaged over y. Batch norm uses the
running averages of the checkpoint. Noise is NumPy's, from a seed and a purpose, and enters through input layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from parmesan_cagem import view_functions as functions
from parmesan_cagem.engines import Engine
from parmesan_cagem.errors import UserError
from parmesan_cagem.randomness import Purpose, choose, generator, noise
from parmesan_cagem.trained import Trained

Images = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Latents:
    """One ancestral draw for every image.

    Attributes
    ----------
    z : dict
        Name of a variable (``z1``, ``z2``, ``a`` ...) -> its draws, (N, units) float32, in the order of inference.
    y : (N,) int64 or None
        ``y ~ q(y|.)``; None for a model without a class.
    """

    z: dict[str, NDArray[np.float32]]
    y: NDArray[np.int64] | None


def latents(
    trained: Trained, engine: Engine, images: NDArray[np.uint8], indices: NDArray[np.int64], seed: int
) -> Latents:
    """Draw every variable, and y if there is one, once for every image.

    Parameters
    ----------
    images : (N, D) uint8
        Binary.
    indices : (N,) int64
        Their places in the data set. They choose each image's noise: a subset gets the full set's draws.
    seed : int
    """
    units = [v.units for v in trained.model.variables]
    streams = [noise(seed, Purpose.LATENTS, int(i)) for i in indices]
    drawn = _rows([s.standard_normal(sum(units), dtype=np.float32) for s in streams], sum(units))
    eps = np.split(drawn, np.cumsum(units)[:-1], axis=1)  # (N, units) each
    uniform = np.array([s.random() for s in streams])
    x, y = images.astype(np.float32), None
    if trained.model.q_y is not None:
        before = [e for e, v in zip(eps, trained.model.variables, strict=True) if not v.per_class]
        y = choose(functions.in_blocks(functions.class_encoder(trained, engine), x, *before)[0], uniform)
    z = functions.in_blocks(functions.encoder(trained, engine), x, *_classes_given(trained, y), *eps)[:-1]
    return Latents(dict(zip((v.name for v in trained.model.variables), z, strict=True)), y)


def class_probabilities(trained: Trained, engine: Engine, z2: ArrayLike) -> NDArray[np.float32]:
    """CaGeM's p(y|z2) at points of z2: (N, z2) -> (N, K).

    Raises
    ------
    UserError
        The model has no p(y|z2).
    """
    points = _points(trained, z2)
    return functions.in_blocks(functions.classes(trained, engine), points)[0]


def mesh(
    trained: Trained,
    engine: Engine,
    z2: ArrayLike,
    classes: Literal["random"] | int | ArrayLike,
    seed: int,
    z1: Literal["sample", "mean"] = "sample",
) -> Images:
    """Decode points of CaGeM's z2: the means of p(x|y,z1).

    Parameters
    ----------
    z2 : (N, z2) float
        Points.
    classes : "random", int, or (N,) int
        y ~ p(y|z2) (the paper's random generations), or the class that is given (its class-conditional ones).
    seed : int
        Points of the same place in ``z2`` get the same noise, whatever the classes.
    z1 : {"sample", "mean"}
        Draw ``z1 ~ p(z1|y,z2)``, or take its mean.

    Returns
    -------
    (N, D) float32
        Pixel probabilities.

    Raises
    ------
    UserError
        The model is no CaGeM, or a class is none of its clusters.
    """
    draws, points = generator(seed, Purpose.MESH), _points(trained, z2)
    uniform = draws.random(len(points))
    eps = draws.standard_normal((len(points), trained.experiment.z1_dim), dtype=np.float32)
    if isinstance(classes, str):
        y = choose(functions.in_blocks(functions.classes(trained, engine), points)[0], uniform)
    else:
        clusters = trained.experiment.clusters
        y = np.broadcast_to(np.asarray(classes, dtype=np.int64), (len(points),))
        if len(y) and not 0 <= y.min() <= y.max() < clusters:
            raise UserError(
                f"class {np.asarray(classes).tolist()}: the model has clusters 0 to {clusters - 1}; give one of them"
            )
    eps = np.zeros_like(eps) if z1 == "mean" else eps
    return functions.in_blocks(functions.decoder(trained, engine), *_classes_given(trained, y), eps, points)[0]


def samples(trained: Trained, engine: Engine, count: int, seed: int) -> Images:
    """Draw the top variable from its prior, y, and every other variable given those above: means of p(x|.), (count, D).

    With CaGeM ``z2 ~ N(0, I)``, ``y ~ p(y|z2)``, ``z1 ~ p(z1|y,z2)``; where y has no parent it is uniform.
    """
    model, draws = trained.model, generator(seed, Purpose.PRIOR)
    *lower, top = model.variables
    highest, y = draws.standard_normal((count, top.units), dtype=np.float32), None
    if model.q_y is not None:
        uniform = draws.random(count)
        p_y = np.ones((count, model.classes), dtype=np.float32)
        if trained.experiment.model == "cagem":
            (p_y,) = functions.in_blocks(functions.classes(trained, engine), highest)
        y = choose(p_y, uniform)
    eps = [draws.standard_normal((count, v.units), dtype=np.float32) for v in reversed(lower)][::-1]
    return functions.in_blocks(functions.decoder(trained, engine), *_classes_given(trained, y), *eps, highest)[0]


def reconstructions(trained: Trained, engine: Engine, images: NDArray[np.uint8], seed: int) -> Images:
    """The means of p(x|.) given one draw of every variable, and of y, from q: (N, D) binary -> (N, D).

    With CaGeM ``p(x|y,z1)``, ``z1 ~ q(z1|x)``, ``y ~ q(y|z1,x)``.
    """
    model, draws = trained.model, generator(seed, Purpose.RECONSTRUCTIONS)
    x, y = images.astype(np.float32), None

    def normal(per_class: bool) -> dict[str, NDArray[np.float32]]:
        """Noise of what is drawn before y, or of what is drawn after it."""
        drawn = [v for v in model.variables if v.per_class == per_class]
        return {v.name: draws.standard_normal((len(x), v.units), dtype=np.float32) for v in drawn}

    eps = normal(per_class=False)
    if model.q_y is not None:
        y = choose(
            functions.in_blocks(functions.class_encoder(trained, engine), x, *eps.values())[0], draws.random(len(x))
        )
    eps |= normal(per_class=True)
    ordered = [eps[v.name] for v in model.variables]
    return functions.in_blocks(functions.encoder(trained, engine), x, *_classes_given(trained, y), *ordered)[-1]


def plane(z2_low: ArrayLike, z2_high: ArrayLike, side: int) -> NDArray[np.float32]:
    """Points of a linearly spaced mesh grid over a rectangle of a 2-d z2, as rows of pictures are read.

    Returns
    -------
    (side * side, 2) float32
        From the top left (least z2[0], largest z2[1]) rightwards, row by row.

    Examples
    --------
    >>> plane([0, 0], [1, 2], 2).tolist()
    [[0.0, 2.0], [1.0, 2.0], [0.0, 0.0], [1.0, 0.0]]
    """
    low, high = np.asarray(z2_low, dtype=np.float64), np.asarray(z2_high, dtype=np.float64)
    across, up = np.linspace(low[0], high[0], side), np.linspace(high[1], low[1], side)
    first, second = np.meshgrid(across, up)
    return np.stack([first.ravel(), second.ravel()], axis=1).astype(np.float32)


def _classes_given(trained: Trained, y: NDArray[np.int64] | None) -> list[NDArray[np.float32]]:
    """One-hot y as a function's input, (N, K); nothing for a model without a class."""
    return [] if y is None else [np.eye(trained.model.classes, dtype=np.float32)[y]]


def _points(trained: Trained, z2: ArrayLike) -> NDArray[np.float32]:
    if trained.experiment.model != "cagem":
        raise UserError(
            f"{trained.folder.name}: model {trained.experiment.model} has no p(y|z2), and the plane of z2 is decoded "
            f"with it; name a run of --model cagem"
        )
    points, width = np.asarray(z2, dtype=np.float32), trained.experiment.z2_dim
    if points.ndim != 2 or points.shape[1] != width:
        raise ValueError(f"points of shape {points.shape}: z2 of {trained.folder.name} needs (N, {width})")
    return points


def _rows(rows: list[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.zeros((0, width), dtype=np.float32)
