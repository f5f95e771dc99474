"""Named random streams: Theano's for the noise inside a graph, NumPy's for batches, subsets and evaluation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np
from theano.sandbox.rng_mrg import MRG_RandomStream
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


def generator(seed: int, purpose: Purpose, *more: int) -> np.random.Generator:
    """A NumPy generator that is a pure function of its arguments."""
    return np.random.default_rng([seed, int(purpose), *more])


def noise(seed: int, purpose: Purpose, item: int) -> np.random.Generator:
    """A counter-based generator of one item's noise: the draws of image i never depend on how images are grouped."""
    return np.random.Generator(np.random.Philox(key=np.array([seed * 64 + int(purpose), item], dtype=np.uint64)))


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
        self._rng = MRG_RandomStream([int(word) for word in words])
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
