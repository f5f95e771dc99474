"""Engine ``c``: Theano's own C code and BLAS, as in 2017. The archival truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import theano

from parmesan_cagem import compat, provenance
from parmesan_cagem.engines import Arrays, Updates


class TheanoC:
    """``theano.function`` in Theano's ``fast_run`` mode, compiled to C.

    Parameters
    ----------
    mode : str or None
        A Theano mode instead of C: tests of small graphs use ``FAST_COMPILE``, which needs no compiler.

    Raises
    ------
    UserError
        A compiler, Python's headers or a BLAS is missing.
    """

    name = "c"
    precision = "float32"
    on_cpu = True
    rows_per_call = 5000  # about 60 MB at the paper's widths

    def __init__(self, mode: str | None = None) -> None:
        if mode is None:
            compat.require_toolchain()
        # Adam scales every gradient and squares it too; folding the scale into the product would compute it twice.
        fast_run = theano.compile.mode.Mode(linker="cvm", optimizer="fast_run")
        self.device = provenance.device_name()
        self._mode = mode or fast_run.excluding("local_dot22_to_dot22scalar")

    def function(self, inputs: Sequence[Any], outputs: Sequence[Any], name: str) -> Callable[..., Arrays]:
        return theano.function(list(inputs), list(outputs), mode=self._mode, name=name, on_unused_input="ignore")

    def steps(self, inputs: Sequence[Any], outputs: Sequence[Any], updates: Updates, name: str) -> CSteps:
        return CSteps(
            theano.function(
                list(inputs), list(outputs), updates=list(updates), mode=self._mode, name=name, on_unused_input="ignore"
            )
        )


class CSteps:
    """Calls a compiled step once for each step of a block; its state is always in the shared variables."""

    def __init__(self, step: Callable[..., Arrays]) -> None:
        self._step = step

    def __call__(self, *sequences: np.ndarray) -> Arrays:
        per_step = [self._step(*values) for values in zip(*sequences, strict=True)]
        return [np.stack(values) for values in zip(*per_step, strict=True)]

    def prepare(self, *sequences: np.ndarray) -> None:
        """Nothing to do: it is compiled."""

    def pull(self) -> None:
        """Nothing to do: the state is in the shared variables."""
