"""Conversions of Ops that make, shape, join and split tensors. Their sizes must be static."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from theano import tensor as T
from theano.compile.ops import Rebroadcast, Shape, Shape_i, SpecifyShape
from theano.graph.basic import Apply
from theano.tensor.elemwise import DimShuffle
from theano.tensor.extra_ops import BroadcastTo, RepeatOp
from theano.tensor.opt import MakeVector

from parmesan_cagem.engines.xla.convert import convert, static


def _sizes(values: Any, node: Apply) -> tuple[int, ...]:
    return tuple(int(size) for size in static(values, node, "the shape"))


@convert.register(Shape)
def _shape(op: Shape, node: Apply, x: Any) -> Any:
    return np.array(x.shape, dtype=np.int64)


@convert.register(Shape_i)
def _shape_i(op: Shape_i, node: Apply, x: Any) -> Any:
    return np.array(x.shape[op.i], dtype=np.int64)


@convert.register(SpecifyShape)
def _specify_shape(op: SpecifyShape, node: Apply, x: Any, shape: Any) -> Any:
    if x.shape != _sizes(shape, node):
        raise AssertionError(f"SpecifyShape: got shape {x.shape}, expected {_sizes(shape, node)}")
    return x


@convert.register(Rebroadcast)
def _rebroadcast(op: Rebroadcast, node: Apply, x: Any) -> Any:
    for axis, broadcastable in op.axis.items():
        if broadcastable and x.shape[axis] != 1:
            raise ValueError(f"Dimension {axis} in Rebroadcast's input was supposed to be 1 (got {x.shape[axis]})")
    return x


@convert.register(T.TensorFromScalar)
@convert.register(T.ScalarFromTensor)
def _scalar(op: Any, node: Apply, x: Any) -> Any:
    return x


@convert.register(MakeVector)
def _make_vector(op: MakeVector, node: Apply, *values: Any) -> Any:
    return jnp.stack([jnp.asarray(value, op.dtype) for value in values])


@convert.register(DimShuffle)
def _dimshuffle(op: DimShuffle, node: Apply, x: Any) -> Any:
    kept = jnp.transpose(x, [*op.shuffle, *op.drop])
    return jnp.reshape(kept, [1 if axis == "x" else x.shape[axis] for axis in op.new_order])


@convert.register(T.Reshape)
def _reshape(op: T.Reshape, node: Apply, x: Any, shape: Any) -> Any:
    return jnp.reshape(x, _sizes(shape, node))


@convert.register(T.Flatten)
def _flatten(op: T.Flatten, node: Apply, x: Any) -> Any:
    kept, joint = x.shape[: op.ndim - 1], x.shape[op.ndim - 1 :]
    return jnp.reshape(x, (*kept, int(np.prod(joint, dtype=np.int64))))


@convert.register(T.Alloc)
def _alloc(op: T.Alloc, node: Apply, value: Any, *shape: Any) -> Any:
    sizes = tuple(int(static(size, node, "the shape")) for size in shape)
    return jnp.broadcast_to(value, sizes)


@convert.register(T.AllocEmpty)
def _alloc_empty(op: T.AllocEmpty, node: Apply, *shape: Any) -> Any:
    return jnp.zeros(tuple(int(static(size, node, "the shape")) for size in shape), op.dtype)


@convert.register(BroadcastTo)
def _broadcast_to(op: BroadcastTo, node: Apply, x: Any, *shape: Any) -> Any:
    return jnp.broadcast_to(x, tuple(int(static(size, node, "the shape")) for size in shape))


@convert.register(T.ARange)
def _arange(op: T.ARange, node: Apply, start: Any, stop: Any, step: Any) -> Any:
    return jnp.arange(*(static(value, node, "the range") for value in (start, stop, step)))


@convert.register(T.Eye)
def _eye(op: T.Eye, node: Apply, rows: Any, columns: Any, diagonal: Any) -> Any:
    n, m, k = (int(static(value, node, "the shape")) for value in (rows, columns, diagonal))
    return jnp.eye(n, m, k, dtype=op.dtype)


@convert.register(RepeatOp)
def _repeat(op: RepeatOp, node: Apply, x: Any, repeats: Any) -> Any:
    counts = static(repeats, node, "the number of repeats")
    return jnp.repeat(x, counts, axis=op.axis, total_repeat_length=None)


@convert.register(T.Tile)
def _tile(op: T.Tile, node: Apply, x: Any, repeats: Any) -> Any:
    return jnp.tile(x, _sizes(repeats, node))


@convert.register(T.Join)
def _join(op: T.Join, node: Apply, axis: Any, *tensors: Any) -> Any:
    dtype = node.outputs[0].dtype
    return jnp.concatenate([jnp.asarray(x, dtype) for x in tensors], axis=int(static(axis, node, "the axis")))


@convert.register(T.Split)
def _split(op: T.Split, node: Apply, x: Any, axis: Any, sizes: Any) -> Any:
    lengths = _sizes(sizes, node)
    axis = int(static(axis, node, "the axis"))
    if len(lengths) != op.len_splits or sum(lengths) != x.shape[axis] or min(lengths) < 0:
        raise ValueError(f"Split: sizes {lengths} do not split {x.shape[axis]} into {op.len_splits}")
    return tuple(jnp.split(x, np.cumsum(lengths)[:-1], axis=axis))


@convert.register(T.ExtractDiag)
def _extract_diagonal(op: T.ExtractDiag, node: Apply, x: Any) -> Any:
    return jnp.diagonal(x, op.offset, op.axis1, op.axis2)
