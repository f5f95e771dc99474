"""Conversions of subtensors, their increments, and advanced indexing.

An index out of bounds raises in Theano; a running XLA program cannot raise. Reading there gives NaN (integers: the
largest), writing there is dropped; slices that depend on data are refused, because they have no static shape.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from theano.graph.basic import Apply
from theano.tensor import subtensor
from theano.tensor.type_other import MakeSlice

from parmesan_cagem.engines.xla.convert import Unconvertible, convert, is_static, static


def _index(value: Any, node: Apply) -> Any:
    """An index as JAX takes it: integers, static slices, arrays."""
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return slice(*(None if p is None else int(static(p, node, "a slice")) for p in parts))
    if value is None:
        return None
    if is_static(value) and getattr(value, "ndim", 0) == 0 and not isinstance(value, bool):
        return int(value)
    if not is_static(value) and jnp.issubdtype(value.dtype, jnp.bool_):
        raise Unconvertible(f"engine xla: {node} selects by a mask that depends on data: no static shape")
    return value


def _indices(op: Any, node: Apply, values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Indices of a basic subtensor: those written into the Op, with the node's inputs in their places."""
    filled = subtensor.get_idx_list((None, *values), op.idx_list)
    return tuple(_index(value, node) for value in filled)


@convert.register(MakeSlice)
def _make_slice(op: MakeSlice, node: Apply, *parts: Any) -> Any:
    return slice(*(static(part, node, "a slice") for part in parts))


@convert.register(subtensor.Subtensor)
def _subtensor(op: Any, node: Apply, x: Any, *indices: Any) -> Any:
    chosen = _indices(op, node, indices)
    if all(isinstance(index, int | slice) for index in chosen):
        _check_bounds(x, chosen)
        return x[chosen]
    return jnp.asarray(x).at[chosen].get(mode="fill")


def _check_bounds(x: Any, indices: tuple[Any, ...]) -> None:
    for axis, index in enumerate(indices):
        if isinstance(index, int) and not -x.shape[axis] <= index < x.shape[axis]:
            raise IndexError(f"index {index} is out of bounds for axis {axis} with size {x.shape[axis]}")


@convert.register(subtensor.IncSubtensor)
def _increment(op: Any, node: Apply, x: Any, y: Any, *indices: Any) -> Any:
    return _write(x, y, _indices(op, node, indices), op.set_instead_of_inc)


@convert.register(subtensor.AdvancedSubtensor1)
def _rows(op: Any, node: Apply, x: Any, rows: Any) -> Any:
    return jnp.asarray(x).at[jnp.asarray(rows)].get(mode="fill")


@convert.register(subtensor.AdvancedIncSubtensor1)
def _increment_rows(op: Any, node: Apply, x: Any, y: Any, rows: Any) -> Any:
    return _write(x, y, (jnp.asarray(rows),), op.set_instead_of_inc)


@convert.register(subtensor.AdvancedSubtensor)
def _advanced(op: Any, node: Apply, x: Any, *indices: Any) -> Any:
    return jnp.asarray(x).at[tuple(_index(index, node) for index in indices)].get(mode="fill")


@convert.register(subtensor.AdvancedIncSubtensor)
def _advanced_increment(op: Any, node: Apply, x: Any, y: Any, *indices: Any) -> Any:
    return _write(x, y, tuple(_index(index, node) for index in indices), op.set_instead_of_inc)


def _write(x: Any, y: Any, indices: tuple[Any, ...], assign: bool) -> Any:
    place = jnp.asarray(x).at[indices]
    y = jnp.asarray(y, x.dtype)
    return place.set(y, mode="drop") if assign else place.add(y, mode="drop")
