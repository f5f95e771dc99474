"""Conversions of scalar Ops, which ``Elemwise`` applies to whole tensors.

Theano casts the arguments of arithmetic to the dtype of the result and those of a comparison to their common dtype;
so do we, because JAX promotes by other rules (int64 + float32 is float32 there, float64 in Theano and NumPy).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np
from theano import scalar as S
from theano.graph.basic import Apply, Constant
from theano.scalar import basic_scipy
from theano.tensor.nnet import sigm
from theano.tensor.xlogx import XlogX, XlogY0

from parmesan_cagem.engines.xla.convert import convert_scalar


def _cast(value: Any, dtype: str) -> Any:
    return value if getattr(value, "dtype", None) == dtype else jnp.asarray(value, dtype)


def _round_half_away(x: Any) -> Any:
    whole = jnp.trunc(x)
    return whole + jnp.where(jnp.abs(x - whole) >= 0.5, jnp.sign(x), 0)


def _clip(x: Any, low: Any, high: Any) -> Any:
    # Where low > high, Theano's first comparison wins.
    return jnp.where(x < low, low, jnp.minimum(x, high))


def _floor_divide(x: Any, y: Any) -> Any:
    return jnp.floor(x / y) if jnp.issubdtype(x.dtype, jnp.floating) else jnp.floor_divide(x, y)


def _softplus(x: Any) -> Any:
    # The larger of x and 0, plus a correction that never overflows.
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


# Functions of arguments cast to the dtype of the result. Of two or more arguments where Theano allows it.
ARITHMETIC: dict[type, Callable[..., Any]] = {
    S.Sub: jnp.subtract,
    S.TrueDiv: jnp.true_divide,
    S.IntDiv: _floor_divide,
    S.Mod: jnp.mod,
    S.Pow: jnp.power,
    S.ScalarMaximum: jnp.maximum,
    S.ScalarMinimum: jnp.minimum,
    S.Clip: _clip,
    S.Identity: lambda x: x,
    S.Neg: jnp.negative,
    S.Abs: jnp.abs,
    S.Sgn: jnp.sign,
    S.Inv: lambda x: 1 / x,
    S.Sqr: jnp.square,
    S.Sqrt: jnp.sqrt,
    S.Exp: jnp.exp,
    S.Exp2: jnp.exp2,
    S.Expm1: jnp.expm1,
    S.Log: jnp.log,
    S.Log2: jnp.log2,
    S.Log10: jnp.log10,
    S.Log1p: jnp.log1p,
    S.Ceil: jnp.ceil,
    S.Floor: jnp.floor,
    S.Trunc: jnp.trunc,
    S.RoundHalfToEven: jnp.round,
    S.RoundHalfAwayFromZero: _round_half_away,
    S.Deg2Rad: jnp.deg2rad,
    S.Rad2Deg: jnp.rad2deg,
    S.Sin: jnp.sin,
    S.Cos: jnp.cos,
    S.Tan: jnp.tan,
    S.ArcSin: jnp.arcsin,
    S.ArcCos: jnp.arccos,
    S.ArcTan: jnp.arctan,
    S.ArcTan2: jnp.arctan2,
    S.Sinh: jnp.sinh,
    S.Cosh: jnp.cosh,
    S.Tanh: jnp.tanh,
    S.ArcSinh: jnp.arcsinh,
    S.ArcCosh: jnp.arccosh,
    S.ArcTanh: jnp.arctanh,
    S.OR: jnp.bitwise_or,
    S.XOR: jnp.bitwise_xor,
    S.AND: jnp.bitwise_and,
    S.Invert: jnp.invert,
    basic_scipy.Erf: special.erf,
    basic_scipy.Erfc: special.erfc,
    basic_scipy.Erfinv: special.erfinv,
    basic_scipy.GammaLn: special.gammaln,
    basic_scipy.Psi: special.digamma,
    sigm.ScalarSigmoid: jax.nn.sigmoid,
    sigm.ScalarSoftplus: _softplus,
    XlogX: lambda x: jnp.where(x == 0, 0, x * jnp.log(x)),
    XlogY0: lambda x, y: jnp.where(x == 0, 0, x * jnp.log(y)),
}

# Functions to bool, of arguments cast to their common dtype.
COMPARISONS: dict[type, Callable[..., Any]] = {
    S.LT: jnp.less,
    S.GT: jnp.greater,
    S.LE: jnp.less_equal,
    S.GE: jnp.greater_equal,
    S.EQ: jnp.equal,
    S.NEQ: jnp.not_equal,
    S.IsNan: jnp.isnan,
    S.IsInf: jnp.isinf,
}


def _register_arithmetic(cls: type, function: Callable[..., Any]) -> None:
    @convert_scalar.register(cls)
    def _(op: Any, node: Apply, *inputs: Any) -> Any:
        return function(*(_cast(value, node.outputs[0].type.dtype) for value in inputs))


def _register_comparison(cls: type, function: Callable[..., Any]) -> None:
    @convert_scalar.register(cls)
    def _(op: Any, node: Apply, *inputs: Any) -> Any:
        common = S.upcast(*(variable.type.dtype for variable in node.inputs))
        return function(*(_cast(value, common) for value in inputs))


for _class, _function in ARITHMETIC.items():
    _register_arithmetic(_class, _function)
for _class, _function in COMPARISONS.items():
    _register_comparison(_class, _function)


def _add(total: Any, term: Any) -> Any:
    return jnp.logical_or(total, term) if total.dtype == bool else total + term


def _multiply(total: Any, factor: Any) -> Any:
    return jnp.logical_and(total, factor) if total.dtype == bool else total * factor


@convert_scalar.register(S.Add)
def _sum(op: Any, node: Apply, *inputs: Any) -> Any:
    return _chain(_add, node, inputs)


@convert_scalar.register(S.Mul)
def _product(op: Any, node: Apply, *inputs: Any) -> Any:
    return _chain(_multiply, node, inputs)


def _chain(combine: Callable[[Any, Any], Any], node: Apply, inputs: tuple[Any, ...]) -> Any:
    total, *rest = (_cast(value, node.outputs[0].type.dtype) for value in inputs)
    for value in rest:
        total = combine(total, value)
    return total


@convert_scalar.register(S.Switch)
def _switch(op: Any, node: Apply, condition: Any, then: Any, otherwise: Any) -> Any:
    dtype = node.outputs[0].type.dtype
    return jnp.where(jnp.asarray(condition) != 0, _cast(then, dtype), _cast(otherwise, dtype))


@convert_scalar.register(S.Second)
def _second(op: Any, node: Apply, shape_of: Any, value: Any) -> Any:
    return jnp.broadcast_to(value, np.broadcast_shapes(np.shape(shape_of), np.shape(value)))


@convert_scalar.register(S.Cast)
def _cast_op(op: Any, node: Apply, value: Any) -> Any:
    return _cast(value, node.outputs[0].type.dtype)


@convert_scalar.register(S.Composite)
def _composite(op: Any, node: Apply, *inputs: Any) -> Any:
    known = dict(zip(op.fgraph.inputs, inputs, strict=True))

    def value(variable: Any) -> Any:
        return variable.data if isinstance(variable, Constant) else known[variable]

    for inner in op.fgraph.toposort():
        known[inner.outputs[0]] = convert_scalar(inner.op, inner, *(value(variable) for variable in inner.inputs))
    results = tuple(value(variable) for variable in op.fgraph.outputs)
    return results if len(results) > 1 else results[0]
