"""Importance-weighted bounds F_k on log p(x), streamed over images and samples in memory that does not grow with k."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import theano.tensor as T
from numpy.typing import NDArray
from scipy.special import ndtr

from parmesan_cagem import objectives
from parmesan_cagem.config import Experiment
from parmesan_cagem.engines import Arrays, Engine
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.models.networks import Model
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.progress import Progress
from parmesan_cagem.randomness import Purpose, noise
from parmesan_cagem.streaming import StreamingBound


@dataclass(frozen=True, eq=False)
class Bounds:
    """Per-image results, in nats.

    Attributes
    ----------
    bounds : dict
        ``F_1`` (the paper's F), ``F_1_marginal`` (not with the sampled estimator), ``F_10``, ``F_<k>`` -> (N,).
    terms : dict
        Reconstruction and KL terms -> (N,); empty with the sampled estimator.
    seconds : float
        Wall time of these images, in all the processes that it took.
    """

    bounds: dict[str, NDArray[np.float64]]
    terms: dict[str, NDArray[np.float64]]
    seconds: float = 0.0


class Normals(Protocol):
    """A source of standard normal numbers, in order; NumPy's generators are some."""

    def standard_normal(self, size: tuple[int, int], dtype: Any) -> NDArray[Any]:
        """The next ``size`` of them."""
        ...


@dataclass(frozen=True, eq=False)
class Sampling:
    """What :func:`streamed` draws for an image.

    Attributes
    ----------
    name : str
        Of the ledger's table: what the numbers follow from, besides the ledger's identity.
    draws : int
        Samples of an image.
    ks : tuple of int
        Sizes of the blocks, ascending, 1 first.
    noise : callable
        Place of an image in the test set -> its noise; a row for each draw, the variables' side by side.
    marginal : bool
        Whether a weight sums over y; otherwise y is drawn too.
    title : str
        For the progress bar.
    """

    name: str
    draws: int
    ks: tuple[int, ...]
    noise: Callable[[int], Normals]
    marginal: bool
    title: str

    @property
    def columns(self) -> list[str]:
        """Names of the bounds in the table; with ``marginal`` the terms of F_1 follow."""
        if not self.marginal:
            return [f"F_{k}" for k in self.ks]
        return [*("F_1_marginal" if k == 1 else f"F_{k}" for k in self.ks), "F_1"]


def importance_bounds(
    model: Model,
    e: Experiment,
    engine: Engine,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    quiet: bool = True,
    rows: int | None = None,
    ledger: Ledger | None = None,
) -> Bounds:
    """F_1, F_10 and F_k (k = ``e.iw_samples``) of every image: :func:`streamed` with independent draws."""
    return streamed(model, engine, _independent(e), images, indices, quiet, rows, ledger)


def _independent(e: Experiment) -> Sampling:
    # F_10 only where its blocks fill the draws: a block left over would break F_10 <= F_k for single images.
    ks = sorted({1, e.iw_samples} | ({10} if e.iw_samples % 10 == 0 else set()))
    name = f"bounds/k {e.iw_samples}, {e.estimator}, batch norm {e.bn_eval}, seed {e.eval_seed}"

    def normals(image: int) -> Normals:
        return noise(e.eval_seed, Purpose.EVALUATION, image)

    return Sampling(name, e.iw_samples, tuple(ks), normals, e.estimator == "marginal", f"F_{e.iw_samples}")


def streamed(
    model: Model,
    engine: Engine,
    how: Sampling,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    quiet: bool = True,
    rows: int | None = None,
    ledger: Ledger | None = None,
) -> Bounds:
    """Bounds of every image, under the running averages.

    Parameters
    ----------
    images : (N, D) uint8
        Binary.
    indices : (N,) int64
        Their places in the test set: they choose each image's noise, so a subset gives the full set's numbers.
    rows : int, optional
        (image, sample) rows of one call, the engine's choice when absent; changes speed and memory, not results
        (beyond rounding).
    ledger : Ledger, optional
        Keeps finished images, and knows those of an interrupted evaluation.

    Raises
    ------
    FloatingPointError
        A weight is NaN or Inf; names the image. Nothing is ever left out of a mean.
    """
    marginal, ks = how.marginal, how.ks
    term_names = objectives.term_names(model) if marginal else ()
    rows = rows or max(1, engine.rows_per_call // (model.classes if marginal else 1))
    widths = noise_widths(model, given=not marginal)
    width = sum(widths) + (0 if marginal else 1)
    columns = [*how.columns, *term_names]
    table = (ledger or Ledger()).table(how.name, int(indices.max()) + 1, len(columns))
    draws = min(how.draws, max(1, min(50, rows)))
    # Every image has a stream of its own, so threads may draw at once: beside an accelerator, one would hold it up.
    todo = [block for block in blocks(len(images), max(1, rows // draws)) if not table.done[indices[block]].all()]
    total, left = len(images), sum(len(indices[block]) for block in todo)
    if todo:
        call = _compile_marginal(model, engine) if marginal else _compile_sampled(model, engine)
    scale = how.draws  # progress is counted in images x samples
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads,
        Progress(total * scale, "samples", how.title, quiet, (total - left) * scale) as progress,
    ):
        for block in todo:
            clock = time.monotonic()
            streams = [how.noise(int(i)) for i in indices[block]]
            stream = StreamingBound(len(streams), ks)
            sums = np.zeros((1 + len(term_names), len(streams)))
            for chunk in blocks(how.draws, draws):
                count = chunk.stop - chunk.start
                drawn = threads.map(partial(_normals, shape=(count, width)), streams)
                eps = np.stack(list(drawn))
                values = call(np.repeat(images[block].astype(np.float32), count, axis=0), eps.reshape(-1, width))
                drawn_values = np.stack([value.reshape(len(streams), count) for value in values])
                _require_finite(drawn_values, indices[block])  # (outputs, images, draws)
                for draw in range(count):
                    stream.add(drawn_values[0, :, draw])
                    if marginal:
                        sums += drawn_values[1:, :, draw]
                progress.advance(count * len(streams))
            finished = [stream.bounds()[k] for k in ks] + ([*sums / how.draws] if marginal else [])
            table.put(indices[block], np.stack(finished, axis=1), time.monotonic() - clock)
    values_of = dict(zip(columns, table.values[indices].T, strict=True))
    terms = {name: values_of.pop(name) for name in term_names}
    order = ["F_1", *(name for name in how.columns if name != "F_1")]
    return Bounds({name: values_of[name] for name in order}, terms, float(table.seconds[indices].sum()))


def noise_widths(model: Model, given: bool = False) -> list[int]:
    """Normal numbers that one draw of an image takes, by variable: units, times K where each class has a sample."""
    return [rows * units for rows, units in model.noise_shapes(1, given)]


def split_noise(model: Model, eps: NDArray[np.float32], given: bool = False) -> list[NDArray[np.float32]]:
    """The numbers of N draws, (N, all), as the noise of every variable: (N, units), or (N*K, units)."""
    parts = np.split(eps, np.cumsum(noise_widths(model, given))[:-1], axis=1)
    return [part.reshape(-1, v.units) for part, v in zip(parts, model.variables, strict=True)]


def _compile_marginal(model: Model, engine: Engine) -> Callable[..., Arrays]:
    x, eps = T.matrix("x"), [T.matrix(f"eps_{v.name}") for v in model.variables]
    terms = model.terms(x, eps, RunningStatistics())
    outputs = [objectives.log_weight(terms), objectives.bound(terms), *objectives.decomposition(terms).values()]
    function = engine.function([x, *eps], outputs, "marginal weights")

    def call(images: NDArray[np.float32], drawn: NDArray[np.float32]) -> Arrays:
        return function(images, *split_noise(model, drawn))

    return call


def _compile_sampled(model: Model, engine: Engine) -> Callable[..., Arrays]:
    x, eps, uniform = T.matrix("x"), [T.matrix(f"eps_{v.name}") for v in model.variables], T.vector("uniform")
    output = objectives.sampled_log_weight(model, x, eps, uniform, RunningStatistics())
    function = engine.function([x, *eps, uniform], [output], "sampled weights")

    def call(images: NDArray[np.float32], drawn: NDArray[np.float32]) -> Arrays:
        return function(images, *split_noise(model, drawn[:, :-1], given=True), ndtr(drawn[:, -1]))

    return call


def _normals(stream: Normals, shape: tuple[int, int]) -> NDArray[np.float32]:
    return stream.standard_normal(shape, dtype=np.float32)


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``range(total)``."""
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _require_finite(table: NDArray[np.floating], indices: NDArray[np.int64]) -> None:
    bad = ~np.isfinite(table).all(axis=(0, 2))
    if bad.any():
        raise FloatingPointError(
            f"evaluation: a log weight of test image {indices[np.flatnonzero(bad)[0]]} is not finite"
        )
