"""Conversions of Ops on whole tensors: elementwise, reductions, products, cumulative sums, the softmax family."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from theano import scalar as S
from theano import tensor as T
from theano.compile.ops import DeepCopyOp, OutputGuard, ViewOp
from theano.graph.basic import Apply
from theano.ifelse import IfElse
from theano.tensor import nnet
from theano.tensor.blas import BatchedDot
from theano.tensor.elemwise import CAReduce, DimShuffle, Elemwise, Prod, ProdWithoutZeros, Sum
from theano.tensor.extra_ops import CumOp
from theano.tensor.opt import Assert

from parmesan_cagem.engines.xla import products
from parmesan_cagem.engines.xla.convert import Unconvertible, convert, convert_scalar, is_static

FEW = 4096  # elements: sums of fewer are not worth a product


@convert.register(Elemwise)
def _elemwise(op: Elemwise, node: Apply, *inputs: Any) -> Any:
    return convert_scalar(op.scalar_op, node, *inputs)


@convert.register(DeepCopyOp)
@convert.register(ViewOp)
@convert.register(OutputGuard)
def _same(op: Any, node: Apply, x: Any) -> Any:
    return x


@convert.register(Assert)
def _assert(op: Assert, node: Apply, x: Any, *conditions: Any) -> Any:
    # A program cannot raise while it runs: a failed assertion makes NaN, which whoever reads the result notices.
    for condition in conditions:
        if is_static(condition):
            if not np.all(condition):
                raise AssertionError(op.msg)  # what Theano's own Op raises
        elif jnp.issubdtype(x.dtype, jnp.floating):
            x = jnp.where(jnp.all(condition), x, jnp.nan)
    return x


@convert.register(IfElse)
def _if_else(op: IfElse, node: Apply, condition: Any, *branches: Any) -> Any:
    # Both branches are values by now; XLA drops the one that a static condition excludes.
    chosen, other = branches[: op.n_outs], branches[op.n_outs :]
    if is_static(condition):
        return tuple(chosen if condition else other)
    for x, y in zip(chosen, other, strict=True):
        if np.shape(x) != np.shape(y):
            raise Unconvertible(
                f"engine xla: the branches of {node} have shapes {np.shape(x)} and {np.shape(y)}; "
                "XLA needs one shape unless shapes alone choose the branch"
            )
    return tuple(jnp.where(condition != 0, x, y) for x, y in zip(chosen, other, strict=True))


@convert.register(Sum)
def _sum(op: Sum, node: Apply, x: Any) -> Any:
    # Theano accumulates float32 in float64; here partial sums are float32.
    dtype = node.outputs[0].dtype
    axes = tuple(range(x.ndim)) if op.axis is None else tuple(op.axis)
    leading = axes == tuple(range(len(axes))) and x.size > FEW
    if not (leading and dtype == x.dtype == "float32"):
        return jnp.sum(x, axis=op.axis, dtype=dtype)
    if len(axes) == x.ndim > 1:
        return jnp.sum(products.column_sums(x.reshape(-1, x.shape[-1])))
    rows = x.reshape(np.prod(x.shape[: len(axes)], dtype=int), -1)
    return products.column_sums(rows).reshape(x.shape[len(axes) :])


@convert.register(Prod)
def _prod(op: Prod, node: Apply, x: Any) -> Any:
    return jnp.prod(x, axis=op.axis, dtype=node.outputs[0].dtype)


@convert.register(ProdWithoutZeros)
def _prod_without_zeros(op: ProdWithoutZeros, node: Apply, x: Any) -> Any:
    return jnp.prod(jnp.where(x == 0, 1, x), axis=op.axis, dtype=node.outputs[0].dtype)


REDUCTIONS: dict[type, Any] = {
    S.Add: jnp.sum,
    S.Mul: jnp.prod,
    S.ScalarMaximum: jnp.max,
    S.ScalarMinimum: jnp.min,
}
BITWISE = {S.AND: lax.bitwise_and, S.OR: lax.bitwise_or, S.XOR: lax.bitwise_xor}


@convert.register(CAReduce)
def _reduce(op: CAReduce, node: Apply, x: Any) -> Any:
    x = jnp.asarray(x)
    kind = type(op.scalar_op)
    if kind in REDUCTIONS:
        return REDUCTIONS[kind](x, axis=op.axis)
    if kind not in BITWISE:
        raise Unconvertible(f"engine xla cannot reduce by {op.scalar_op} in {node}")
    axes = tuple(range(x.ndim)) if op.axis is None else tuple(op.axis)
    none = np.zeros((), x.dtype)
    return lax.reduce(x, ~none if kind is S.AND else none, BITWISE[kind], axes)


def _joint_axes(x: Any, axes: Any) -> Any:
    """Move ``axes`` to the end and flatten them, in their order, as Theano's argmax does."""
    axes = tuple(range(x.ndim)) if axes is None else tuple(int(a) for a in np.atleast_1d(axes))
    kept = [a for a in range(x.ndim) if a not in axes]
    joint = int(np.prod([x.shape[a] for a in axes]))  # not -1, which an empty array leaves open
    return jnp.transpose(x, (*kept, *axes)).reshape(*(x.shape[a] for a in kept), joint)


@convert.register(T.MaxAndArgmax)
def _max_and_argmax(op: T.MaxAndArgmax, node: Apply, x: Any) -> Any:
    flat = _joint_axes(x, op.axis)
    return jnp.max(flat, axis=-1), jnp.argmax(flat, axis=-1)


@convert.register(T.Argmax)
def _argmax(op: T.Argmax, node: Apply, x: Any) -> Any:
    return jnp.argmax(_joint_axes(x, op.axis), axis=-1)


@convert.register(T.Dot)
def _dot(op: T.Dot, node: Apply, x: Any, y: Any) -> Any:
    transposed = [_is_transpose(variable) for variable in node.inputs]
    return products.dot(x, y, node.outputs[0].dtype, *transposed)


def _is_transpose(variable: Any) -> bool:
    made_by = variable.owner.op if variable.owner else None
    return isinstance(made_by, DimShuffle) and tuple(made_by.new_order) == (1, 0)


@convert.register(BatchedDot)
def _batched_dot(op: BatchedDot, node: Apply, x: Any, y: Any) -> Any:
    # (B, ...) by (B, ...): contracts the last axis of x with the first after the batch of y.
    dimensions = (((x.ndim - 1,), (1,)), ((0,), (0,)))
    return products.dot_general(x, y, dimensions, node.outputs[0].dtype)


@convert.register(CumOp)
def _cumulative(op: CumOp, node: Apply, x: Any) -> Any:
    return jnp.cumsum(x, axis=op.axis) if op.mode == "add" else jnp.cumprod(x, axis=op.axis)


@convert.register(nnet.Softmax)
def _softmax(op: Any, node: Apply, x: Any) -> Any:
    return jax.nn.softmax(x, axis=-1)


@convert.register(nnet.LogSoftmax)
def _log_softmax(op: Any, node: Apply, x: Any) -> Any:
    return jax.nn.log_softmax(x, axis=-1)


@convert.register(nnet.SoftmaxWithBias)
def _softmax_with_bias(op: Any, node: Apply, x: Any, bias: Any) -> Any:
    return jax.nn.softmax(x + bias, axis=-1)


@convert.register(nnet.SoftmaxGrad)
def _softmax_gradient(op: Any, node: Apply, dy: Any, softmax: Any) -> Any:
    scaled = dy * softmax
    return scaled - jnp.sum(scaled, axis=-1, keepdims=True) * softmax


def _one_hot(classes: Any, like: Any) -> Any:
    return (jnp.arange(like.shape[-1]) == classes[:, None]).astype(like.dtype)  # (rows, K)


@convert.register(nnet.CrossentropySoftmaxArgmax1HotWithBias)
def _cross_entropy_softmax(op: Any, node: Apply, x: Any, bias: Any, classes: Any) -> Any:
    logits = x + bias
    log_p = jax.nn.log_softmax(logits, axis=-1)
    return -jnp.sum(_one_hot(classes, log_p) * log_p, axis=-1), jnp.exp(log_p), jnp.argmax(logits, axis=-1)


@convert.register(nnet.CrossentropySoftmax1HotWithBiasDx)
def _cross_entropy_softmax_gradient(op: Any, node: Apply, dy: Any, softmax: Any, classes: Any) -> Any:
    return jnp.reshape(dy, (-1, 1)) * (softmax - _one_hot(classes, softmax))


@convert.register(nnet.CrossentropyCategorical1Hot)
def _cross_entropy(op: Any, node: Apply, p: Any, classes: Any) -> Any:
    return -jnp.log(jnp.take_along_axis(p, jnp.asarray(classes)[:, None], axis=1)[:, 0])


@convert.register(nnet.CrossentropyCategorical1HotGrad)
def _cross_entropy_gradient(op: Any, node: Apply, dy: Any, p: Any, classes: Any) -> Any:
    return -dy[:, None] * _one_hot(classes, p) / p
