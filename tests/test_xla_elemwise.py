"""Elemwise on XLA: sums and products of many, Switch, Second, casts, Composite, broadcasting; against Theano."""

import functools

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from hypothesis import given, settings
from theano import scalar as S
from theano.compile.mode import Mode, Query
from theano.tensor.elemwise import Elemwise
from xla_cases import FLOATS, agree, integers, normal

FEW = settings(deadline=None, max_examples=8)  # every new shape is a compilation
DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]


@pytest.mark.parametrize("combine", [T.add, T.mul])
@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_and_products_of_many(combine, dtype):
    values = [normal(2, 3, dtype=dtype, seed=seed) for seed in range(4)]
    agree(lambda *v: [combine(*v), combine(*v[:3]), combine(v[0], v[1], 2)], *values, integers(2, 3, dtype="int8"))
    agree(lambda *v: combine(*v), *values, mode=xla_cases.raw())


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64"])
def test_sums_and_products_of_integers_and_bools(dtype):
    values = [integers(4, 4, low=0, high=2, dtype=dtype, seed=seed) for seed in range(3)]
    a, b, c = values
    for mode in ("XLA", xla_cases.raw()):
        added, multiplied, mixed = xla_cases.results(
            lambda x, y, z: [T.add(x, y, z), T.mul(x, y, z), T.add(x, y, T.cast(z, "int64"))], *values, mode=mode
        )
        xla_cases.same(added, a + b + c)
        xla_cases.same(multiplied, a * b * c)
        xla_cases.same(mixed, a.astype("int64") + b + c)


def test_integers_wrap_around_as_in_numpy():
    x, y = np.array([120, -128, 7], "int8"), np.array([100, -3, 2], "int8")
    found = xla_cases.results(lambda a, b: [a + b, a * b, a - b, -a], x, y)
    for one, other in zip(found, [x + y, x * y, x - y, -x], strict=True):
        xla_cases.same(one, other)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("condition", ["bool", "int64", "float32"])
def test_switch(dtype, condition):
    choose = integers(3, 4, low=-1, high=2).astype(condition)
    x, y, row = normal(3, 4, dtype=dtype), normal(3, 4, dtype="float32", seed=1), normal(4, dtype=dtype, seed=2)
    agree(lambda c, x, y, r: [T.switch(c, x, y), T.switch(c, r, 0), T.switch(T.gt(x, 0), x * y, r)], choose, x, y, row)


@pytest.mark.parametrize("dtype", FLOATS)
def test_second_fills_the_shape_of_its_first_argument(dtype):
    x, row = normal(3, 4, dtype=dtype), normal(4, dtype=dtype, seed=1)
    agree(lambda x, r: [T.fill(x, r), T.fill(x, 2), T.second(x, r[0]), T.ones_like(x)], x, row, mode=xla_cases.raw())


@functools.cache
def casts():
    """Of every dtype to every dtype, in one function: {(from, to): (the values, the cast values)}."""
    values = {
        start: np.array([0, 1, 2.75, 100.5, 0] if start.startswith(("uint", "bool")) else [0, 1, -1.75, 100.5, -3])
        for start in DTYPES
    }
    values = {start: value.astype(start) for start, value in values.items()}
    variables = {start: T.vector(dtype=start) for start in DTYPES}
    pairs = [(start, end) for start in DTYPES for end in DTYPES]
    outputs = [T.cast(variables[start], end) for start, end in pairs]
    found = theano.function(list(variables.values()), outputs, mode=xla_cases.raw())(*values.values())
    return {pair: (values[pair[0]], value) for pair, value in zip(pairs, found, strict=True)}


@pytest.mark.parametrize("end", DTYPES)
@pytest.mark.parametrize("start", DTYPES)
def test_cast(start, end):
    value, found = casts()[start, end]
    if start.startswith("float") and end.startswith("uint"):  # C leaves a negative float's unsigned value open
        value, found = value[value >= 0], found[value >= 0]
    if start.startswith("float") and end == "int8":
        assert abs(value).max() < 128
    xla_cases.same(found, value.astype(end))


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_cast_has_a_gradient(dtype):
    agree(lambda x, y: T.cast(x, "float64") * T.cast(y, "float32"), normal(5, dtype=dtype), normal(5, seed=1))


def composites(function):
    return [op for op in xla_cases.ops(function) if isinstance(getattr(op, "scalar_op", None), S.Composite)]


@pytest.mark.parametrize("dtype", FLOATS)
def test_loops_that_theano_fused(dtype):
    def build(x, y):
        return [T.tanh(x) * T.exp(y) + 2 * x, T.switch(x > y, x * y, T.maximum(x, -y)) ** 2, (x > 0) & (y < 1)]

    x, y = normal(3, 4, dtype=dtype), normal(3, 4, dtype=dtype, seed=1)
    mode = Mode("xla", Query(include=["fast_run"], exclude=["cxx_only", "BlasOpt", "inplace"]))
    variables = [xla_cases.tensor(x), xla_cases.tensor(y)]
    assert composites(theano.function(variables, build(*variables), mode=mode))
    assert not composites(theano.function(variables, build(*variables), mode="XLA"))
    agree(build, x, y, mode=mode)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_composite_of_several_outputs(dtype):
    a, b, c = (S.Scalar(dtype)() for _ in range(3))
    inner = S.Composite(
        [a, b, c], [S.exp(a) * b, a + S.cast(c, "int8"), S.switch(S.gt(a, b), c, S.constant(1.5, dtype))]
    )
    x, y, row = normal(3, 4, dtype=dtype), normal(3, 4, dtype=dtype, seed=1), normal(4, dtype=dtype, seed=2)
    variables = [xla_cases.tensor(value) for value in (x, y, row)]
    outputs = Elemwise(inner)(variables[0], variables[1], variables[2].dimshuffle("x", 0))
    found = theano.function(variables, outputs, mode=Mode("xla", optimizer=None))(x, y, row)
    expected = [np.exp(x) * y, x + row.astype("int8"), np.where(x > y, row, 1.5).astype(dtype)]
    for one, other in zip(found, expected, strict=True):
        xla_cases.same(one, other)


def widths(dtype):
    """Pairs of arrays of which each axis agrees or is 1 in one of them, up to three axes."""
    shapes = npst.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=3, min_side=1, max_side=3)
    # XLA on a CPU takes subnormal numbers for zero.
    elements = st.floats(-3, 3, width=32, allow_subnormal=False)
    return shapes.flatmap(
        lambda s: st.tuples(*[npst.arrays(dtype, shape, elements=elements) for shape in s.input_shapes])
    )


@FEW
@given(st.sampled_from(FLOATS).flatmap(widths))
def test_broadcasting(values):
    agree(lambda a, b: [a * b + a, T.exp(a) - b, T.ge(a, b)], *values, broadcastable=True)


@pytest.mark.parametrize(
    ("x", "y"), [("int64", "float32"), ("int8", "float32"), ("uint8", "int8"), ("bool", "int64"), ("int32", "float64")]
)
def test_mixed_dtypes_promote_as_in_theano(x, y):
    agree(
        lambda a, b: [a + b, a * b, T.maximum(a, b), T.eq(a, b), T.lt(a, b), T.switch(a > 0, a, b)],
        integers(6, low=0, dtype=x),
        integers(6, low=0, seed=1).astype(y),
        gradients=False,
    )
