"""The engine that the rest of the package calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import theano

from parmesan_cagem.engines import Arrays, Updates
from parmesan_cagem.engines.xla import platform, products
from parmesan_cagem.engines.xla.blocks import Block
from parmesan_cagem.engines.xla.conversions import Program
from parmesan_cagem.engines.xla.devices import Devices
from parmesan_cagem.engines.xla.state import DeviceState

# At the paper's widths about 60 MB, which a CPU's caches like; 2.5 GB, which an accelerator needs to be busy.
ROWS_PER_CALL, ROWS_PER_CALL_ACCELERATOR = 5000, 200_000


class XLA:
    """Theano's graph optimiser, then XLA.

    Parameters
    ----------
    devices : int
        Devices that share a training batch.
    precision : {"float32", "tf32", "bf16"}
        Of the matrix products in training and evaluation.

    Raises
    ------
    UserError
        There are fewer devices.
    """

    name = "xla"

    def __init__(self, devices: int = 1, precision: str = "float32") -> None:
        platform.enable_compile_cache()
        self._devices = Devices(devices)
        self.precision = precision
        self.device = self._devices.name
        self.on_cpu = products.on_cpu()
        self.rows_per_call = ROWS_PER_CALL if self.on_cpu else ROWS_PER_CALL_ACCELERATOR

    def function(self, inputs: Sequence[Any], outputs: Sequence[Any], name: str) -> Callable[..., Arrays]:
        """Compile ``outputs`` of ``inputs``; shared variables stay on the device until they are set."""
        function = self._theano(inputs, outputs, [], name)
        program = Program(function.maker.fgraph, self.precision)
        state = DeviceState(function.input_storage[len(inputs) :], self._devices.everywhere)
        dtypes = [variable.dtype for variable in program.inputs[: len(inputs)]]
        run = jax.jit(lambda *values: program(*values))

        def call(*values: Any) -> Arrays:
            with platform.x64():
                arrays = [np.asarray(value, dtype) for value, dtype in zip(values, dtypes, strict=True)]
                return [np.array(result) for result in jax.device_get(run(*arrays, *state.push()))]

        return call

    def steps(self, inputs: Sequence[Any], outputs: Sequence[Any], updates: Updates, name: str) -> Block:
        """Compile a training step into a loop on the device; see :class:`Block`."""
        function = self._theano(inputs, outputs, updates, name)
        return Block(function, len(inputs), len(outputs), self._devices, self.precision)

    @staticmethod
    def _theano(inputs: Sequence[Any], outputs: Sequence[Any], updates: Updates, name: str) -> Any:
        return theano.function(
            list(inputs), list(outputs), updates=list(updates), mode="XLA", name=name, on_unused_input="ignore"
        )
