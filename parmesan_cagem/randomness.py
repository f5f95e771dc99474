"""Named random streams: Theano's for the noise inside a graph, NumPy's for batches, subsets and evaluation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from theano.sandbox import rng_mrg
from theano.tensor.var import TensorVariable


class Purpose(IntEnum):
    """Second word of every NumPy seed, so that equal user seeds never give equal streams."""

    GRAPH = 1
    BATCHES = 2
    LABELLED_BATCHES = 3
    MONITOR = 4
    COLLECT = 5
    EVALUATION = 6
    CLASSIFICATION = 7
    SAMPLES = 8
    LATENTS = 9
    MESH = 10
    RECONSTRUCTIONS = 11
    PRIOR = 12
    PRICES = 13
    UNITS = 14


def generator(seed: int, purpose: Purpose, *more: int) -> np.random.Generator:
    """A NumPy generator that is a pure function of its arguments."""
    return np.random.default_rng([seed, int(purpose), *more])


def noise(seed: int, purpose: Purpose, item: int) -> np.random.Generator:
    """A counter-based generator of one item's noise: the draws of image i never depend on how images are grouped."""
    return np.random.Generator(np.random.Philox(key=np.array([seed * 64 + int(purpose), item], dtype=np.uint64)))


def choose(probabilities: NDArray[np.floating], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Classes drawn by inverting cumulative sums: (N, K), (N,) in [0, 1) -> (N,)."""
    cumulative = np.cumsum(probabilities, axis=1, dtype=np.float64)
    return (cumulative <= (uniform * cumulative[:, -1])[:, None]).sum(axis=1)


class QuickStreams(rng_mrg.MRG_RandomStream):
    """Theano's streams, whose starts are computed here in NumPy: the same numbers, two seconds sooner, no compiler.

    Theano compiles a C function for one jump of one stream and calls it for each of thousands. Starts are a geometric
    sequence of matrices applied to one state, so doubling finds them all in a few vectorised products.
    """

    rstate: NDArray[np.int32]

    def get_substream_rstates(self, n_streams: int, dtype: str, inc_rstate: bool = True) -> NDArray[np.int32]:
        """The starts of ``n_streams`` streams, 2^72 numbers apart, (n_streams, 6); then jump 2^134 numbers."""
        starts = np.asarray(self.rstate, dtype=np.int64)[None]  # (1, 6)
        jump = (rng_mrg.A1p72, rng_mrg.A2p72)
        while len(starts) < n_streams:
            starts = np.concatenate([starts, _jumped(starts, jump)])
            jump = (_modular(jump[0], jump[0], rng_mrg.M1), _modular(jump[1], jump[1], rng_mrg.M2))
        if inc_rstate:
            self.inc_rstate()
        return starts[:n_streams].astype(np.int32)

    def inc_rstate(self) -> None:
        """Jump 2^134 numbers, to where the next call's streams start."""
        state = np.asarray(self.rstate, dtype=np.int64)[None]
        self.rstate = _jumped(state, (rng_mrg.A1p134, rng_mrg.A2p134))[0].astype(np.int32)


def _jumped(states: NDArray[np.int64], jump: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Apply the matrices of both components to (n, 6) states."""
    first = _modular(states[:, :3], jump[0].T, rng_mrg.M1)
    return np.concatenate([first, _modular(states[:, 3:], jump[1].T, rng_mrg.M2)], axis=1)


def _modular(a: NDArray[np.int64], b: NDArray[np.int64], modulus: np.int32) -> NDArray[np.int64]:
    """``a @ b`` modulo 2^31 or less: every product fits int64, their sum would not, so each is reduced first."""
    terms = (a[:, :, None] * b[None, :, :]) % int(modulus)  # (n, 3, 3)
    return terms.sum(axis=1) % int(modulus)


class NamedStreams:
    """MRG31k3p streams of a graph, one per name, none overlapping (each starts 2^72 numbers or more after another).

    Parameters
    ----------
    seed : int
        The run's seed.

    Attributes
    ----------
    states : OrderedDict
        Name -> shared variable, the whole state of a stream: an (streams, 6) int32 array.
    """

    def __init__(self, seed: int) -> None:
        words = generator(seed, Purpose.GRAPH).integers(1, 2147462579, size=6)
        self._rng = QuickStreams([int(word) for word in words])
        self.states: OrderedDict[str, Any] = OrderedDict()

    def normal(self, name: str, shape: tuple[int, int]) -> TensorVariable:
        """Standard normal draws of ``shape``, new ones at every call of the compiled function."""
        return self._register(name, self._rng.normal(shape))

    def uniform(self, name: str, shape: tuple[int, int]) -> TensorVariable:
        """Uniform draws on (0, 1) of ``shape``."""
        return self._register(name, self._rng.uniform(shape))

    def _register(self, name: str, draws: TensorVariable) -> TensorVariable:
        if name in self.states:
            raise ValueError(f"stream {name!r} exists: two sources of noise must not share a stream")
        state = self._rng.state_updates[-1][0]
        state.name = f"random/{name}"
        self.states[name] = state
        return draws

    def updates(self) -> Iterator[tuple[Any, TensorVariable]]:
        """(state, next state) of every stream."""
        return ((old, new) for old, new, *_ in self._rng.state_updates)
