"""The log-mean-exp of a stream of log weights, for several numbers of samples at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class StreamingBound:
    """F_k for several k at once, from disjoint blocks of one stream of log weights.

    ``F_k(x) = mean over blocks of k draws of log mean_{s in block} w_s``. Blocks of a smaller k lie inside those of a
    larger one when it divides it, so by Jensen's inequality the bounds are then ordered for every single image. A last,
    incomplete block is left out. Draws are taken one at a time, so how they were computed cannot matter.

    Parameters
    ----------
    images : int
        N.
    ks : sequence of int
        Sizes of the blocks.
    """

    def __init__(self, images: int, ks: Sequence[int]) -> None:
        self._ks = tuple(ks)
        shape = (len(self._ks), images)
        self._peak, self._sum = np.full(shape, -np.inf), np.zeros(shape)
        self._total, self._blocks, self._draws = np.zeros(shape), np.zeros(len(self._ks), dtype=np.int64), 0

    def add(self, log_weights: NDArray[np.floating]) -> None:
        """Add one draw for every image: (N,), nats."""
        row = np.asarray(log_weights, dtype=np.float64)[None, :]
        peak = np.maximum(self._peak, row)
        self._sum = self._sum * np.exp(self._peak - peak) + np.exp(row - peak)
        self._peak, self._draws = peak, self._draws + 1
        for i, k in enumerate(self._ks):
            if self._draws % k == 0:
                self._total[i] += self._peak[i] + np.log(self._sum[i] / k)
                self._blocks[i] += 1
                self._peak[i], self._sum[i] = -np.inf, 0.0

    def bounds(self) -> dict[int, NDArray[np.float64]]:
        """Maps k to F_k of every image, (N,), nats; only those k of which a block is complete."""
        return {k: self._total[i] / self._blocks[i] for i, k in enumerate(self._ks) if self._blocks[i]}
