"""Engines execute Theano graphs. They know nothing of CaGeM; the rest knows nothing of them but this interface.

Another engine is a module with a class that offers :class:`Engine`, and a line in :func:`get`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from parmesan_cagem import compat
from parmesan_cagem.errors import UserError

NAMES, PRECISIONS = ("xla", "c"), ("float32", "tf32", "bf16")
Updates = Iterable[tuple[Any, Any]]
Arrays = list[np.ndarray]


class Steps(Protocol):
    """A compiled training step, ready to run in blocks."""

    def __call__(self, *sequences: np.ndarray) -> Arrays:
        """Run a block of steps: one array for each input, with a leading axis of steps.

        The updates are applied after each step. Returns, for each output, its values stacked along that axis.
        """
        ...

    def prepare(self, *sequences: np.ndarray) -> None:
        """Compile for blocks of inputs like these, if that is still to be done; runs nothing."""
        ...

    def pull(self) -> None:
        """Write the present state into the shared variables: before it, ``get_value`` may give an older one."""
        ...


class Engine(Protocol):
    """Compiles Theano expressions.

    Attributes
    ----------
    name : str
        ``Experiment.engine``.
    precision : str
        Of its matrix products: float32, tf32 or bf16.
    device : str
        What it runs on, for the record.
    on_cpu : bool
        Whether that is the CPU.
    rows_per_call : int
        Rows of one call of an evaluation (``function``) that keep the device busy and fit its memory.
    """

    name: str
    precision: str
    device: str
    on_cpu: bool
    rows_per_call: int

    def function(self, inputs: Sequence[Any], outputs: Sequence[Any], name: str) -> Callable[..., Arrays]:
        """Compile ``outputs`` of ``inputs`` into a callable from arrays to a list of arrays."""
        ...

    def steps(self, inputs: Sequence[Any], outputs: Sequence[Any], updates: Updates, name: str) -> Steps:
        """Compile a training step. Values set in shared variables between blocks (``set_value``) count."""
        ...


def default() -> str:
    """``xla`` where JAX is installed, else ``c``."""
    return "xla" if importlib.util.find_spec("jax") else "c"


def check(name: str) -> None:
    """Refuse an engine that cannot run here, without importing Theano.

    Raises
    ------
    UserError
        Names what is missing and the package that provides it.
    """
    if name not in NAMES:
        raise UserError(f"--engine {name}: unknown; choose one of {', '.join(NAMES)}")
    if name == "c":
        compat.require_toolchain()
    elif importlib.util.find_spec("jax") is None:
        raise UserError("--engine xla: JAX is not installed; pip install jax, or use --engine c")


def check_precision(name: str, precision: str) -> None:
    """Refuse a precision that nobody knows, or that the engine has not.

    Raises
    ------
    UserError
    """
    if precision not in PRECISIONS:
        raise UserError(f"--precision {precision}: unknown; choose one of {', '.join(PRECISIONS)}")
    if name == "c" and precision != "float32":
        raise UserError(f"--precision {precision}: engine c has float32 only; use --engine xla")


def require_gpu(name: str) -> None:
    """Refuse to compute on a CPU; imports JAX, no Theano.

    Raises
    ------
    UserError
        Says why there is no GPU.
    """
    if name == "c":
        raise UserError("--require-gpu --engine c: engine c runs on the CPU; use --engine xla")
    from parmesan_cagem.engines.xla import devices, platform

    if devices.found()[0].platform != "gpu":
        raise UserError(f"--require-gpu: {platform.why_no_gpu()}; or leave --require-gpu out to use the CPU")


def where(engine: Engine) -> str:
    """One line for the user: what the engine runs on."""
    if not engine.on_cpu:
        return f"running on {engine.device}"
    # Whoever named the platforms knows why there is no GPU.
    found = "" if engine.name == "c" or os.environ.get("JAX_PLATFORMS") else "no GPU found: "
    return f"{found}running on the CPU, {engine.device}"


def get(name: str, devices: int = 1, precision: str = "float32") -> Engine:
    """The engine of that name (``Experiment.engine``).

    Raises
    ------
    UserError
        What the engine needs is not installed, or there are fewer devices.
    """
    check(name)
    if name == "c":
        from parmesan_cagem.engines.theano_c import TheanoC

        return TheanoC()
    if name == "xla":
        from parmesan_cagem.engines.xla.engine import XLA

        return XLA(devices, precision)
    raise ValueError(f"no engine is named {name!r}")
