"""Every scalar Op on XLA, and its gradient, against Theano's Python code."""

import functools
import warnings

import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from theano import scalar as S
from theano.scalar import basic_scipy
from theano.tensor import xlogx
from theano.tensor.elemwise import Elemwise
from theano.tensor.nnet import sigm
from xla_cases import FLOATS

from parmesan_cagem.engines.xla.scalars import ARITHMETIC, COMPARISONS

HALVES = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, -3.0, 2.0]
SPECIAL = [0.0, np.inf, -np.inf, np.nan]
# What an argument is drawn from: a range of floats and values that every draw begins with, or a dtype of integers.
FLOAT_ARGUMENTS = {
    "real": (-3, 3, [0.0, 1.0, -1.0]),
    "wide": (-60, 60, [0.0, 100.0, -100.0]),
    "positive": (0.1, 4, [1.0, 2.0]),
    "from0": (0, 3, [0.0, 1.0]),
    "unit": (-0.95, 0.95, [0.0]),
    "from1": (1.1, 4, [2.0]),
    "nonzero": (0.3, 3, [-1.5, -0.4, 1.0]),
    "halves": (-4, 4, HALVES),
    "special": (-1, 1, SPECIAL),
}
# The arguments that a scalar Op is tried with; those of other than one kind stand in brackets.
CASES = {
    S.Sub: ["real real", "int8 int64", "real int8", "int64 float32", "uint8 int8"],
    S.TrueDiv: ["real nonzero", "int64 divisor", "int8 nonzero"],
    S.IntDiv: ["real nonzero", "int64 divisor", "int8 divisor"],
    S.Mod: ["real nonzero", "int64 divisor", "real divisor"],
    S.Pow: ["positive real", "int64 uint8", "real uint8"],
    S.ScalarMaximum: ["real real", "int8 int64", "real special", "bool int8"],
    S.ScalarMinimum: ["real real", "int8 int64", "special real"],
    S.Clip: ["real unit from1", "int64 int8 uint8", "special unit from1"],
    S.Identity: ["real", "int8", "bool"],
    S.Neg: ["real", "int64", "uint8"],
    S.Abs: ["real", "int8"],
    S.Sgn: ["real", "int64", "special"],
    S.Inv: ["nonzero", "divisor"],
    S.Sqr: ["real", "int8"],
    S.Sqrt: ["from0", "uint8"],
    S.Exp: ["real", "int8", "special"],
    S.Exp2: ["real"],
    S.Expm1: ["real"],
    S.Log: ["positive", "special"],
    S.Log2: ["positive"],
    S.Log10: ["positive"],
    S.Log1p: ["from0"],
    S.Ceil: ["halves", "int8"],
    S.Floor: ["halves"],
    S.Trunc: ["halves"],
    S.RoundHalfToEven: ["halves"],
    S.RoundHalfAwayFromZero: ["halves"],
    S.Deg2Rad: ["wide"],
    S.Rad2Deg: ["real"],
    S.Sin: ["real"],
    S.Cos: ["real"],
    S.Tan: ["unit"],
    S.ArcSin: ["unit"],
    S.ArcCos: ["unit"],
    S.ArcTan: ["real"],
    S.ArcTan2: ["real nonzero"],
    S.Sinh: ["real"],
    S.Cosh: ["real"],
    S.Tanh: ["real", "int8"],
    S.ArcSinh: ["real"],
    S.ArcCosh: ["from1"],
    S.ArcTanh: ["unit"],
    S.OR: ["int64 int8", "bool bool"],
    S.XOR: ["int64 int8", "bool bool"],
    S.AND: ["int64 int8", "bool bool"],
    S.Invert: ["int64", "uint8", "bool"],
    basic_scipy.Erf: ["real"],
    basic_scipy.Erfc: ["real"],
    basic_scipy.Erfinv: ["unit"],
    basic_scipy.GammaLn: ["positive"],
    basic_scipy.Psi: ["positive"],
    sigm.ScalarSigmoid: ["wide"],
    sigm.ScalarSoftplus: ["wide"],
    xlogx.XlogX: ["from0"],
    xlogx.XlogY0: ["real positive"],
    S.LT: ["real real", "int64 real", "special real"],
    S.GT: ["real real", "int64 real", "special real"],
    S.LE: ["real real", "int64 real", "uint8 int8"],
    S.GE: ["real real", "int64 real", "uint8 int8"],
    S.EQ: ["int8 int64", "int64 real", "bool bool", "special special"],
    S.NEQ: ["int8 int64", "int64 real", "bool int8", "special special"],
    S.IsNan: ["special"],
    S.IsInf: ["special"],
}
NAMES = [(cls, kinds) for cls, every in CASES.items() for kinds in every]
# Theano gives them no gradient, or one of an Op that the engine does not convert (psi's is tri_gamma).
FLAT = {S.OR, S.XOR, S.AND, S.Invert, S.IsNan, S.IsInf, S.IntDiv, basic_scipy.Psi, *COMPARISONS}
SMOOTH = [(cls, kinds) for cls, kinds in NAMES if cls not in FLAT and set(kinds.split()) & FLOAT_ARGUMENTS.keys()]
COUNT = 16


@functools.cache
def instances():
    """A scalar Op of each class."""
    modules = [vars(module).values() for module in (S, basic_scipy, sigm)]
    found = {type(op): op for values in modules for op in values if isinstance(op, S.ScalarOp)}
    return found | {xlogx.XlogX: xlogx.scalar_xlogx, xlogx.XlogY0: xlogx.scalar_xlogy0}


def draw(kind, dtype, rng):
    if kind in FLOAT_ARGUMENTS:
        low, high, first = FLOAT_ARGUMENTS[kind]
        return np.concatenate([first, rng.uniform(low, high, COUNT - len(first))]).astype(dtype)
    if kind == "divisor":
        return rng.choice(np.array([-3, -2, -1, 1, 2, 3], "int8"), COUNT)
    low, high = {"bool": (0, 2), "uint8": (0, 5)}.get(kind, (-5, 6))
    return rng.integers(low, high, COUNT).astype(kind)


def arguments(cls, kinds, dtype):
    rng = np.random.default_rng([len(kinds), list(CASES).index(cls)])
    return [rng.permutation(draw(kind, dtype, rng)) for kind in kinds.split()]


@functools.cache
def values(dtype):
    """Of all cases at once, in one function of each: {case: (XLA's value, Theano's value)}."""
    given = {name: arguments(*name, dtype) for name in NAMES}
    variables = {name: [xla_cases.tensor(value) for value in given[name]] for name in NAMES}
    outputs = [Elemwise(instances()[name[0]])(*variables[name]) for name in NAMES]
    return evaluate(dict(zip(NAMES, outputs, strict=True)), variables, given, xla_cases.raw())


@functools.cache
def gradients(dtype):
    """As :func:`values`, of the gradients, stacked; after all the rewrites of mode XLA."""
    given = {name: [v[np.isfinite(v) & (v != 0)][:8] for v in arguments(*name, dtype)] for name in SMOOTH}
    given = {name: [v[: min(map(len, every))] for v in every] for name, every in given.items()}
    variables = {name: [xla_cases.tensor(value) for value in given[name]] for name in SMOOTH}
    outputs = {}
    for name in SMOOTH:
        output = Elemwise(instances()[name[0]])(*variables[name])
        wrt = [variable for variable in variables[name] if variable.dtype == dtype]
        outputs[name] = T.stack(T.grad(T.sum(output * T.arange(1, 9, dtype=dtype)[: output.shape[0]]), wrt))
    return evaluate(outputs, variables, given, "XLA")


def evaluate(outputs, variables, given, mode):
    inputs = [variable for name in outputs for variable in variables[name]]
    numbers = [value for name in outputs for value in given[name]]
    pair = []
    for each in (mode, xla_cases.REFERENCE):
        function = theano.function(inputs, list(outputs.values()), mode=each, on_unused_input="ignore")
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            pair.append(function(*numbers))
    return dict(zip(outputs, zip(*pair, strict=True), strict=True))


def test_every_scalar_op_has_a_case():
    assert set(CASES) == ARITHMETIC.keys() | COMPARISONS.keys()


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name[0].__name__} {name[1]}")
@pytest.mark.parametrize("dtype", FLOATS)
def test_value(dtype, name):
    xla_cases.same(*values(dtype)[name])


@pytest.mark.parametrize("name", SMOOTH, ids=lambda name: f"{name[0].__name__} {name[1]}")
@pytest.mark.parametrize("dtype", FLOATS)
def test_gradient(dtype, name):
    found, expected = gradients(dtype)[name]
    assert found.size
    xla_cases.same(found, expected)
