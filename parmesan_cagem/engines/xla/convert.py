"""From a Theano graph to JAX: a table with one small function per Op, and the walk that applies it.

To teach the engine a new Op, register a function for its class::

    @convert.register(MyOp)
    def _my_op(op, node, x, y):
        return jnp.something(x, y)

It receives the Op, the node (for dtypes and the number of dimensions) and the values of the node's inputs, and returns
the value of the output, or a tuple of them.

A value is *static* when it is NumPy's (constants, shapes, and whatever is computed from them) and *traced* when it is
JAX's. XLA needs to know every shape, so a node with only static inputs is evaluated by Theano's own Python code and
stays static; functions that need a shape or a slice ask for it with :func:`static`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from theano.graph.basic import Apply, Constant
from theano.graph.fg import FunctionGraph
from theano.sandbox.rng_mrg import mrg_uniform
from theano.scalar.basic import Composite
from theano.tensor.basic import Join
from theano.tensor.elemwise import Elemwise

from parmesan_cagem.engines.xla import products

FOLDED_ELEMENTS = 4096  # larger arrays are made on the device rather than stored in the program


class Unconvertible(TypeError):
    """A graph that XLA cannot run: a shape that depends on data, a dtype that the device's arithmetic lacks."""


class UnconvertibleOp(Unconvertible):
    """The engine has no conversion for an Op."""


@singledispatch
def convert(op: Any, node: Apply, *inputs: Any) -> Any:
    """The value (or tuple of values) of ``node`` in JAX; see the module's text."""
    raise _unconvertible(op, node)


@singledispatch
def convert_scalar(op: Any, node: Apply, *inputs: Any) -> Any:
    """As :func:`convert`, for the scalar Op inside an ``Elemwise``; inputs broadcast as in NumPy."""
    raise _unconvertible(op, node)


def check(nodes: Sequence[Apply]) -> None:
    """Refuse a graph that cannot be converted, before anything runs.

    Raises
    ------
    UnconvertibleOp
        Names the Op and says how to add it.
    """
    for node in nodes:
        if convert.dispatch(type(node.op)) is convert.dispatch(object):
            raise _unconvertible(node.op, node)
        if isinstance(node.op, Elemwise):
            scalar_op = node.op.scalar_op
            if convert_scalar.dispatch(type(scalar_op)) is convert_scalar.dispatch(object):
                raise _unconvertible(scalar_op, node)
            if isinstance(scalar_op, Composite):
                for inner in scalar_op.fgraph.toposort():
                    if convert_scalar.dispatch(type(inner.op)) is convert_scalar.dispatch(object):
                        raise _unconvertible(inner.op, inner)


def _unconvertible(op: Any, node: Apply) -> UnconvertibleOp:
    table = "convert_scalar" if hasattr(op, "nfunc_spec") and not isinstance(op, Elemwise) else "convert"
    cls = type(op)
    return UnconvertibleOp(
        f"engine xla has no conversion for the Op {op} ({cls.__module__}.{cls.__qualname__}) in {node}; register one "
        f"with @{table}.register({cls.__name__}), see parmesan_cagem/engines/xla/convert.py, or use mode='FAST_RUN'"
    )


class Program:
    """A Theano function graph as a JAX function.

    Parameters
    ----------
    fgraph : FunctionGraph
        Optimised.
    precision : str
        Of its matrix products, one of ``products.PRECISIONS``.
    replicated : jax.sharding.Sharding or None
        With several devices: the sharding of a value that each has whole. Random numbers are drawn so and cut
        afterwards: streams do not run along the batch, and XLA would exchange pieces of them at every turn.

    Raises
    ------
    UnconvertibleOp
    """

    def __init__(self, fgraph: FunctionGraph, precision: str = "float32", replicated: Any = None) -> None:
        self.precision, self.replicated = precision, replicated
        self.nodes = fgraph.toposort()
        check(self.nodes)
        self.inputs, self.outputs = list(fgraph.inputs), list(fgraph.outputs)

    def __call__(self, *values: Any) -> list[Any]:
        """Apply to JAX values, under ``jax.jit``; every node is converted once, in topological order."""
        known: dict[Any, Any] = dict(zip(self.inputs, values, strict=True))

        def value(variable: Any) -> Any:
            return variable.data if isinstance(variable, Constant) else known[variable]

        with products.precision(self.precision):
            for node in self.nodes:
                results = apply(node, [value(variable) for variable in node.inputs])
                if self.replicated is not None and isinstance(node.op, mrg_uniform | Join):
                    results = [lax.with_sharding_constraint(result, self.replicated) for result in results]
                known.update(zip(node.outputs, results, strict=True))
        return [value(variable) for variable in self.outputs]


def apply(node: Apply, inputs: Sequence[Any]) -> Sequence[Any]:
    """The outputs of one node, static when all its inputs are."""
    if all(map(is_static, inputs)) and (folded := _fold(node, inputs)) is not None:
        return folded
    results = convert(node.op, node, *inputs)
    results = results if isinstance(results, tuple) else (results,)
    return [_as_declared(result, variable) for result, variable in zip(results, node.outputs, strict=True)]


def is_static(value: Any) -> bool:
    """Whether a value is known while the program is being built."""
    return value is None or isinstance(value, np.ndarray | np.generic | bool | int | float | slice)


def static(value: Any, node: Apply, what: str) -> Any:
    """``value`` if it is static.

    Raises
    ------
    Unconvertible
        It depends on data: XLA compiles for known shapes only.
    """
    if not is_static(value):
        raise Unconvertible(f"engine xla: {what} of {node} depends on data, but XLA needs to know every shape")
    return value


def _fold(node: Apply, inputs: Sequence[Any]) -> Sequence[Any] | None:
    """Evaluate a node in Python; None if it has no such code, or makes an array that the device had better make."""
    if not hasattr(node.op, "perform") or sum(np.size(value) for value in inputs) > FOLDED_ELEMENTS:
        return None
    if type(node.op).__name__ in ("Alloc", "AllocEmpty") and np.prod(inputs[-node.outputs[0].ndim :]) > FOLDED_ELEMENTS:
        return None
    storage = {variable: [value] for variable, value in zip(node.inputs, inputs, strict=True)}
    storage.update((variable, [None]) for variable in node.outputs)
    computed = {variable: [variable not in node.outputs] for variable in storage}
    thunk = node.op.make_thunk(node, storage, computed, [], impl="py")
    thunk()
    return [storage[variable][0] for variable in node.outputs]


def _as_declared(result: Any, variable: Any) -> Any:
    """Cast to the dtype that Theano inferred: JAX promotes mixed dtypes by other rules."""
    dtype = getattr(variable.type, "dtype", None)
    if dtype is None or is_static(result) or result.dtype == dtype:
        return result
    return jnp.asarray(result, dtype)
