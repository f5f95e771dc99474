"""Engines execute Theano graphs. They know nothing of CaGeM; the rest knows nothing of them but this interface.

A second engine is a module beside ``theano_c`` with a class that offers :class:`Engine`, and a line in :func:`get`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from parmesan_cagem import compat

Updates = Iterable[tuple[Any, Any]]
Arrays = list[np.ndarray]


class Engine(Protocol):
    """Compiles Theano expressions."""

    name: str

    def function(self, inputs: Sequence[Any], outputs: Sequence[Any], name: str) -> Callable[..., Arrays]:
        """Compile ``outputs`` of ``inputs`` into a callable from arrays to a list of arrays."""
        ...

    def steps(
        self, inputs: Sequence[Any], outputs: Sequence[Any], updates: Updates, name: str
    ) -> Callable[..., Arrays]:
        """Compile a training step into a callable that runs a block of steps.

        The callable takes one array for each input, with a leading axis of steps; applies ``updates`` after each step;
        and returns, for each output, its values stacked along that axis. Shared variables hold their new values
        (``get_value``) when the callable returns; an engine may keep them elsewhere in between.
        """
        ...


def check(name: str) -> None:
    """Refuse an engine that cannot run here, without importing Theano.

    Raises
    ------
    UserError
        Names what is missing and the package that provides it.
    """
    if name == "c":
        compat.require_toolchain()


def get(name: str) -> Engine:
    """The engine of that name (``Experiment.engine``).

    Raises
    ------
    UserError
        When what the engine needs is not installed.
    """
    if name == "c":
        from parmesan_cagem.engines.theano_c import TheanoC

        return TheanoC()
    raise ValueError(f"no engine is named {name!r}")
