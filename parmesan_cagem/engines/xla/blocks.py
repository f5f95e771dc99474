"""A block of training steps as one XLA program: a loop on the device over minibatches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from parmesan_cagem.engines.xla import platform
from parmesan_cagem.engines.xla.convert import Program
from parmesan_cagem.engines.xla.devices import Devices
from parmesan_cagem.engines.xla.state import DeviceState

CAPACITY = 128  # steps that one call of the program can hold; longer blocks take several calls


class Block:
    """Runs steps; each takes its inputs from one index of the given sequences and hands its updates to the next.

    The number of steps is an argument of the program, so that blocks of every length run the same code: how an epoch is
    cut into blocks, or where a run was interrupted, cannot change a bit of the result.

    Parameters
    ----------
    function : theano.compile.function.types.Function
        The step, compiled with ``mode="XLA"``: its optimised graph and its shared variables are used.
    inputs, outputs : int
        Numbers of explicit inputs and of outputs without updates.
    devices : Devices
        Where it runs.
    precision : str
        Of its matrix products.
    """

    def __init__(self, function: Any, inputs: int, outputs: int, devices: Devices, precision: str) -> None:
        self._program = Program(function.maker.fgraph, precision, devices.replicated)
        self._dtypes = [variable.dtype for variable in self._program.inputs[:inputs]]
        self._outputs = outputs
        shared = function.maker.expanded_inputs[inputs:]
        # The program's outputs after the first `outputs` are the updates, in the order of the inputs that have one.
        self._updated = [i for i, variable in enumerate(shared) if variable.update is not None]
        self._state = DeviceState(function.input_storage[inputs:], devices.everywhere)
        self._place = devices.by_batch
        self._programs: dict[Any, Callable[..., Any]] = {}
        self._run = jax.jit(self._loop, donate_argnums=0, out_shardings=devices.replicated)

    def __call__(self, *sequences: np.ndarray) -> list[np.ndarray]:
        """Run ``len(sequences[0])`` steps; returns the outputs of all of them, stacked."""
        steps = len(sequences[0])
        if steps == 0:
            raise ValueError("a block needs at least one step")
        parts = [self._call([s[i : i + CAPACITY] for s in sequences]) for i in range(0, steps, CAPACITY)]
        return [np.concatenate(values) for values in zip(*parts, strict=True)]

    def prepare(self, *sequences: np.ndarray) -> None:
        """Compile for inputs like these, so that the first block takes no longer than the others."""
        with platform.x64():
            self._compiled(self._arguments([s[:CAPACITY] for s in sequences]))

    def pull(self) -> None:
        """Write the state into the shared variables."""
        self._state.pull()

    def _call(self, sequences: Sequence[np.ndarray]) -> list[np.ndarray]:
        with platform.x64():
            arguments = self._arguments(sequences)
            state, outputs = self._compiled(arguments)(*arguments)
            self._state.replace(self._updated, state)
            return [np.array(output[: len(sequences[0])]) for output in jax.device_get(outputs)]

    def _arguments(self, sequences: Sequence[np.ndarray]) -> tuple[Any, ...]:
        """Arguments of the program: state that changes, state that does not, padded inputs, number of steps."""
        steps = len(sequences[0])
        padded = []
        for sequence, dtype in zip(sequences, self._dtypes, strict=True):
            array = np.zeros((CAPACITY, *np.shape(sequence)[1:]), dtype)
            array[:steps] = sequence
            padded.append(self._place(array))
        values = self._state.push()
        changing = [values[i] for i in self._updated]
        fixed = [value for i, value in enumerate(values) if i not in self._updated]
        return changing, fixed, padded, np.int32(steps)

    def _compiled(self, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        shapes = tuple(np.shape(leaf) for leaf in jax.tree.leaves(arguments))
        if shapes not in self._programs:
            self._programs[shapes] = self._run.lower(*arguments).compile()
        return self._programs[shapes]

    def _loop(self, changing: list[Any], fixed: list[Any], sequences: list[Any], steps: Any) -> tuple[Any, Any]:
        def step(changing: list[Any], inputs: list[Any]) -> tuple[list[Any], list[Any]]:
            new, old = iter(changing), iter(fixed)
            shared = [next(new if i in self._updated else old) for i in range(len(changing) + len(fixed))]
            results = self._program(*inputs, *shared)
            return [jnp.asarray(value) for value in results[self._outputs :]], results[: self._outputs]

        first = [sequence[0] for sequence in sequences]
        # Convert the graph once; the loop's body replays the result.
        closed, (_, shapes) = jax.make_jaxpr(step, return_shape=True)(changing, first)

        def body(i: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            changing, outputs = carry
            inputs = [lax.dynamic_index_in_dim(sequence, i, keepdims=False) for sequence in sequences]
            flat = jax.core.eval_jaxpr(closed.jaxpr, closed.consts, *changing, *inputs)
            new, values = flat[: len(changing)], flat[len(changing) :]
            updated = [
                lax.dynamic_update_index_in_dim(output, value, i, 0)
                for output, value in zip(outputs, values, strict=True)
            ]
            return new, updated

        empty = [jnp.zeros((CAPACITY, *shape.shape), shape.dtype) for shape in shapes]
        return lax.fori_loop(np.int32(0), steps, body, (changing, empty))
