"""What pictures show, as arrays: latent samples, the plane of z2 decoded, reconstructions, samples of the prior.

Everything is ancestral: a variable is drawn given draws of those before it, never averaged over y. Batch norm uses the
running averages of the checkpoint. Noise is NumPy's, from a seed and a purpose, and enters through input layers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import theano.tensor as T
from lasagne.layers import get_output
from numpy.typing import ArrayLike, NDArray

from parmesan_cagem import densities
from parmesan_cagem.engines import Arrays, Engine
from parmesan_cagem.errors import UserError
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.randomness import Purpose, generator, noise
from parmesan_cagem.trained import Trained

Images = NDArray[np.float32]
Function = Callable[..., Arrays]
ROWS = 1000  # rows of one call: small enough for any memory, and one shape to compile for


@dataclass(frozen=True, eq=False)
class Latents:
    """One ancestral draw for every image.

    Attributes
    ----------
    z1 : (N, z1) float32
        ``z1 ~ q(z1|x)``
    y : (N,) int64
        ``y ~ q(y|z1,x)``
    z2 : (N, z2) float32
        ``z2 ~ q(z2|x,y,z1)``
    """

    z1: NDArray[np.float32]
    y: NDArray[np.int64]
    z2: NDArray[np.float32]


def latents(
    trained: Trained, engine: Engine, images: NDArray[np.uint8], indices: NDArray[np.int64], seed: int
) -> Latents:
    """Draw z1, y and z2 once for every image.

    Parameters
    ----------
    images : (N, D) uint8
        Binary.
    indices : (N,) int64
        Their places in the data set. They choose each image's noise: a subset gets the full set's draws.
    seed : int
    """
    e = trained.experiment
    streams = [noise(seed, Purpose.LATENTS, int(i)) for i in indices]
    eps = _rows([s.standard_normal(e.z1_dim + e.z2_dim, dtype=np.float32) for s in streams], e.z1_dim + e.z2_dim)
    uniform = np.array([s.random() for s in streams])
    x = images.astype(np.float32)
    z1, q_y = _in_blocks(_encoder(trained, engine), x, eps[:, : e.z1_dim])  # (N, z1), (N, K)
    y = _choose(q_y, uniform)
    (z2,) = _in_blocks(_upper_encoder(trained, engine), x, z1, _one_hot(y, e.clusters), eps[:, e.z1_dim :])
    return Latents(z1, y, z2)


def class_probabilities(trained: Trained, engine: Engine, z2: ArrayLike) -> NDArray[np.float32]:
    """p(y|z2) at points of z2: (N, z2) -> (N, K)."""
    return _in_blocks(_classes(trained, engine), _points(trained, z2))[0]


def mesh(
    trained: Trained,
    engine: Engine,
    z2: ArrayLike,
    classes: Literal["random"] | int | ArrayLike,
    seed: int,
    z1: Literal["sample", "mean"] = "sample",
) -> Images:
    """Decode points of z2: the means of p(x|y,z1).

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
        A class is none of the model's clusters.
    """
    draws = generator(seed, Purpose.MESH)
    return _decode(trained, engine, _points(trained, z2), classes, draws, z1)


def samples(trained: Trained, engine: Engine, count: int, seed: int) -> Images:
    """Draw ``z2 ~ N(0, I)``, ``y ~ p(y|z2)``, ``z1 ~ p(z1|y,z2)``; the means of p(x|y,z1), (count, D)."""
    draws = generator(seed, Purpose.PRIOR)
    z2 = draws.standard_normal((count, trained.experiment.z2_dim), dtype=np.float32)
    return _decode(trained, engine, z2, "random", draws, "sample")


def reconstructions(trained: Trained, engine: Engine, images: NDArray[np.uint8], seed: int) -> Images:
    """The means of p(x|y,z1) with ``z1 ~ q(z1|x)``, ``y ~ q(y|z1,x)``: (N, D) binary -> (N, D)."""
    e, draws = trained.experiment, generator(seed, Purpose.RECONSTRUCTIONS)
    eps = draws.standard_normal((len(images), e.z1_dim), dtype=np.float32)
    z1, q_y = _in_blocks(_encoder(trained, engine), images.astype(np.float32), eps)
    y = _one_hot(_choose(q_y, draws.random(len(images))), e.clusters)
    return _in_blocks(_pixels(trained, engine), y, z1)[0]


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


def _decode(
    trained: Trained,
    engine: Engine,
    z2: NDArray[np.float32],
    classes: Literal["random"] | int | ArrayLike,
    draws: np.random.Generator,
    z1: str,
) -> Images:
    e = trained.experiment
    uniform = draws.random(len(z2))
    eps = draws.standard_normal((len(z2), e.z1_dim), dtype=np.float32)
    if isinstance(classes, str):
        y = _choose(_in_blocks(_classes(trained, engine), z2)[0], uniform)
    else:
        y = np.broadcast_to(np.asarray(classes, dtype=np.int64), (len(z2),))
        if len(y) and not 0 <= y.min() <= y.max() < e.clusters:
            raise UserError(
                f"class {np.asarray(classes).tolist()}: the model has clusters 0 to {e.clusters - 1}; give one of them"
            )
    eps = np.zeros_like(eps) if z1 == "mean" else eps
    return _in_blocks(_decoder(trained, engine), _one_hot(y, e.clusters), z2, eps)[0]


def _once(build: Callable[[Trained, Engine], Function]) -> Callable[[Trained, Engine], Function]:
    """Keep what ``build`` compiled for the last four models: a figure calls each function several times."""
    kept: Any = functools.lru_cache(maxsize=4)(build)
    return kept


@_once
def _encoder(trained: Trained, engine: Engine) -> Function:
    """x, eps_z1 -> z1 ~ q(z1|x) and q(y|z1,x): (B, D), (B, z1) -> (B, z1), (B, K)."""
    model = trained.model
    x, eps = T.matrix("x"), T.matrix("eps_z1")
    z1, logits = get_output([model.z1, model.q_y], {model.x: x, model.eps_z1: eps}, statistics=RunningStatistics())
    return engine.function([x, eps], [z1, T.exp(densities.log_softmax(logits))], "z1 ~ q(z1|x), q(y|z1,x)")


@_once
def _upper_encoder(trained: Trained, engine: Engine) -> Function:
    """x, z1, one-hot y, eps_z2 -> z2 ~ q(z2|x,y,z1): (B, z2)."""
    model = trained.model
    x, z1, y, eps = T.matrix("x"), T.matrix("z1"), T.matrix("y"), T.matrix("eps_z2")
    known = {model.x: x, model.z1: z1, model.y: y, model.eps_z2: eps}
    z2 = get_output(model.z2, known, statistics=RunningStatistics(), classes="given")
    return engine.function([x, z1, y, eps], [z2], "z2 ~ q(z2|x,y,z1)")


@_once
def _classes(trained: Trained, engine: Engine) -> Function:
    """z2 -> p(y|z2): (B, z2) -> (B, K)."""
    model, z2 = trained.model, T.matrix("z2")
    logits = get_output(model.p_y, {model.z2: z2}, statistics=RunningStatistics(), classes="given")
    return engine.function([z2], [T.exp(densities.log_softmax(logits))], "p(y|z2)")


@_once
def _decoder(trained: Trained, engine: Engine) -> Function:
    """One-hot y, z2, eps_z1 -> mean of p(x|y,z1), z1 ~ p(z1|y,z2): (B, K), (B, z2), (B, z1) -> (B, D)."""
    model = trained.model
    y, z2, eps = T.matrix("y"), T.matrix("z2"), T.matrix("eps_z1")
    known = {model.y: y, model.z2: z2}
    mu, log_sigma = get_output(list(model.p_z1), known, statistics=RunningStatistics(), classes="given")  # (B, z1)
    known[model.z1] = mu + T.exp(log_sigma) * eps
    logits = get_output(model.p_x, known, statistics=RunningStatistics(), classes="given")  # (B, D)
    return engine.function([y, z2, eps], [T.nnet.sigmoid(logits)], "p(x|y,z1), z1 ~ p(z1|y,z2)")


@_once
def _pixels(trained: Trained, engine: Engine) -> Function:
    """One-hot y, z1 -> mean of p(x|y,z1): (B, K), (B, z1) -> (B, D)."""
    model, y, z1 = trained.model, T.matrix("y"), T.matrix("z1")
    logits = get_output(model.p_x, {model.y: y, model.z1: z1}, statistics=RunningStatistics(), classes="given")
    return engine.function([y, z1], [T.nnet.sigmoid(logits)], "p(x|y,z1)")


def _in_blocks(function: Function, *arrays: NDArray) -> Arrays:
    """Call ``function`` on blocks of rows of one size, the last one filled up: XLA compiles for every size anew."""
    count = len(arrays[0])
    rows = min(ROWS, max(count, 1))
    parts = []
    for start in range(0, max(count, 1), rows):
        block = [array[start : start + rows] for array in arrays]
        missing = rows - len(block[0])
        results = function(*(np.concatenate([b, np.zeros((missing, *b.shape[1:]), b.dtype)]) for b in block))
        parts.append([result[: rows - missing] for result in results])
    return [np.concatenate(column).astype(np.float32, copy=False) for column in zip(*parts, strict=True)]


def _choose(probabilities: NDArray[np.floating], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Classes drawn by inverting cumulative sums: (N, K), (N,) in [0, 1) -> (N,)."""
    cumulative = np.cumsum(probabilities, axis=1, dtype=np.float64)
    return (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(axis=1)


def _one_hot(y: NDArray[np.int64], clusters: int) -> NDArray[np.float32]:
    return np.eye(clusters, dtype=np.float32)[y]


def _points(trained: Trained, z2: ArrayLike) -> NDArray[np.float32]:
    points, width = np.asarray(z2, dtype=np.float32), trained.experiment.z2_dim
    if points.ndim != 2 or points.shape[1] != width:
        raise ValueError(f"points of shape {points.shape}: z2 of {trained.folder.name} needs (N, {width})")
    return points


def _rows(rows: list[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    return np.stack(rows) if rows else np.zeros((0, width), dtype=np.float32)
