"""Shared variables of a compiled Theano function, kept on the device between calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np


class DeviceState:
    """Device copies of shared variables, which follow ``set_value`` and are written back by :meth:`pull`.

    Parameters
    ----------
    containers : sequence of theano.link.basic.Container
        One for each shared variable.
    place : callable
        Puts a NumPy array on the device (or devices).

    Notes
    -----
    ``set_value`` puts a new array into the container, and that is what :meth:`push` looks for. An array that was got
    with ``borrow=True`` and changed in place is not noticed: set it.
    """

    def __init__(self, containers: Sequence[Any], place: Callable[[Any], jax.Array]) -> None:
        self._cells = [container.storage for container in containers]
        self._place = place
        self._seen: list[Any] = [None] * len(self._cells)
        self._values: list[Any] = [None] * len(self._cells)
        self._newer: set[int] = set()  # on the device only

    def push(self) -> list[jax.Array]:
        """The values on the device; those that were set since the last call are copied there first."""
        for i, cell in enumerate(self._cells):
            if cell[0] is not self._seen[i]:
                # A copy: the CPU device would share the memory with NumPy, and donation would then write into it.
                self._values[i] = self._place(np.array(cell[0]))
                self._seen[i] = cell[0]
                self._newer.discard(i)
        return list(self._values)

    def replace(self, indices: Sequence[int], values: Sequence[jax.Array]) -> None:
        """New values of some variables, as a program returned them."""
        for i, value in zip(indices, values, strict=True):
            self._values[i] = value
            self._newer.add(i)

    def pull(self) -> None:
        """Write the new values into the shared variables, but not over what was set meanwhile."""
        for i in sorted(self._newer):
            if self._cells[i][0] is self._seen[i]:
                self._cells[i][0] = self._seen[i] = np.array(self._values[i])
        self._newer.clear()
