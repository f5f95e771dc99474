"""What a model pays for its approximate posteriors, and whether a second layer pays (paper, Appendix A).

With z1 for the variable that inference draws first and v for all that it draws after it (CaGeM: y and z2), the bound F
falls short of log p(x) twice:

    log p(x) - F = KL[q(z1|x) || p(z1|x)] + E_q(z1|x) KL[q(v|x,z1) || p(v|x,z1)]

Between the two terms lies ``E_q(z1|x) [log p(x,z1) - log q(z1|x)]``, the middle bound. Its log p(x,z1) is estimated by
importance weighting over v with z1 held fixed, a lower bound in expectation; for CaGeM

    log p_IW(x,z1) = log mean_s sum_y p(x,y,z1,z2_s^y) / q(z2_s^y|x,y,z1)

The weight of a whole sample has q(z1|x) in its denominator too, so ``log p_IW(x,z1) - log q(z1|x)`` is the log-mean-exp
of the usual log weights of draws that share the noise of z1: nothing but the noise differs from F_k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import theano.tensor as T
from numpy.typing import NDArray
from theano.graph.basic import graph_inputs

from parmesan_cagem.bounds import Bounds, Normals, Sampling, streamed
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.engines import Engine
from parmesan_cagem.errors import UserError
from parmesan_cagem.evaluation import each_seed
from parmesan_cagem.ledger import Ledger
from parmesan_cagem.models.networks import Model
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.partition import Partition, evaluated
from parmesan_cagem.randomness import Purpose, noise

Images = NDArray[np.float64]


@dataclass(frozen=True)
class Order:
    """Which variable inference draws first, and which it draws (or sums over) after it."""

    first: str
    later: tuple[str, ...]


def order(model: Model) -> Order:
    """The order of a model's inference.

    Raises
    ------
    UserError
        It has a single variable, or the first one is drawn given others: the decomposition is then another one.
    """
    name, first = model.experiment.model, model.variables[0]
    eps = [T.matrix(f"eps_{v.name}") for v in model.variables]
    latents = model.terms(T.matrix("x"), eps, RunningStatistics()).latents
    later = tuple(other for other in latents if other != first.name)
    if not later:
        raise UserError(
            f"--model {name}: has {first.name} only, and prices need another above it; "
            f"train one with --layers 2 (vae, iwae, avae)"
        )
    above = set(graph_inputs([latents[first.name].log_q])) & set(eps[1:])
    if above or first.per_class:
        given = ", ".join(v.name for v, e in zip(model.variables, eps, strict=True) if e in above) or "y"
        raise UserError(
            f"--model {name}: inference draws {first.name} given {given}, and prices need a variable that is drawn "
            f"from x alone and before the others; cagem, vae, iwae, avae, adgm and sdgm have one"
        )
    return Order(first.name, later)


class NestedNoise:
    """The noise of outer x inner draws of one image: blocks of ``inner`` rows share the first ``width`` numbers.

    Parameters
    ----------
    source : Normals
    outer, inner : int
        Draws of the first variable; of the others for each of those.
    width : int
        Numbers that the first variable takes, the leading ones of a row.
    """

    def __init__(self, source: Normals, outer: int, inner: int, width: int) -> None:
        self._first = source.standard_normal((outer, width), dtype=np.float32)
        self._source, self._inner, self._done = source, inner, 0

    def standard_normal(self, size: tuple[int, int], dtype: Any) -> NDArray[Any]:
        """The next rows: (count, all variables); how they are cut into calls changes none of them."""
        count, width = size
        rows = np.arange(self._done, self._done + count)
        self._done += count
        rest = self._source.standard_normal((count, width - self._first.shape[1]), dtype=dtype)
        return np.concatenate([self._first[rows // self._inner], rest], axis=1)


@dataclass(frozen=True, eq=False)
class Nested:
    """Per-image results of nested draws, nats: ``F_1 <= middle`` for every image, up to rounding.

    Attributes
    ----------
    f_1, middle : (N,) float64
        Of the same draws, so that the noise of z1 cancels in their difference.
    seconds : float
        Wall time of these images, in all the processes that it took.
    """

    f_1: Images
    middle: Images
    seconds: float = 0.0

    @property
    def price_later(self) -> Images:
        """E_q(z1|x) KL[q(v|x,z1) || p(v|x,z1)] from below, (N,)."""
        return self.middle - self.f_1


def nested_bounds(
    model: Model,
    e: Experiment,
    engine: Engine,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    outer: int,
    inner: int,
    quiet: bool = True,
    rows: int | None = None,
    ledger: Ledger | None = None,
) -> Nested:
    """F_1 and the middle bound of every image, from ``outer`` draws of z1 and ``inner`` of the rest for each.

    The memory grows with ``outer`` by its noise only. Parameters as in :func:`parmesan_cagem.bounds.streamed`.

    Raises
    ------
    FloatingPointError
        A weight is NaN or Inf; names the image.
    """
    width = model.noise_shapes(1)[0][1]

    def nested(image: int) -> Normals:
        return NestedNoise(noise(e.eval_seed, Purpose.PRICES, image), outer, inner, width)

    name = f"prices/outer {outer}, inner {inner}, batch norm {e.bn_eval}, seed {e.eval_seed}"
    how = Sampling(name, outer * inner, (1, inner), nested, marginal=True, title="middle bound")
    found: Bounds = streamed(model, engine, how, images, indices, quiet, rows, ledger)
    return Nested(found.bounds["F_1"], found.bounds[f"F_{inner}"], found.seconds)


def measure(
    model: Model,
    e: Experiment,
    dataset: Dataset,
    partition: Partition,
    engine: Engine,
    outer: int,
    inner: int,
    quiet: bool = False,
    ledger: Ledger | None = None,
) -> list[Nested]:
    """:func:`nested_bounds` on the images, the binarisations and the batch statistics of the evaluation, by seed."""
    ledger, indices = ledger or Ledger(), evaluated(dataset, e)
    return [
        nested_bounds(model, settings, engine, binary[indices], indices, outer, inner, quiet, ledger=ledger)
        for settings, binary in each_seed(model, e, dataset, partition, engine, quiet, ledger)
    ]
