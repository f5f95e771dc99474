"""Sums, products, extrema, any and all, arguments of the maximum, cumulative sums on XLA, against Theano and NumPy."""

import itertools

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from hypothesis import given, settings
from theano import scalar as S
from theano.tensor.elemwise import CAReduce
from xla_cases import FLOATS, agree, integers, normal

ELEMENTS = st.floats(0, 1, width=32, allow_subnormal=False)  # XLA on a CPU takes subnormal numbers for zero
FEW = settings(deadline=None, max_examples=8)  # every new shape is a compilation
AXES = [None, *(axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count))]
REDUCTIONS = {"sum": T.sum, "prod": T.prod, "max": T.max, "min": T.min, "mean": T.mean, "any": T.any, "all": T.all}
NUMBERS = [*FLOATS, "int8", "uint8", "int32", "int64"]


@pytest.mark.parametrize("dtype", [*NUMBERS, "bool"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_every_choice_of_axes(name, dtype):
    """All of them in one function."""
    if (name, dtype) in {("mean", "bool"), ("max", "bool"), ("min", "bool")}:
        return  # Theano has no such function
    x = normal(2, 3, 4, dtype=dtype) if dtype in FLOATS else integers(2, 3, 4, low=0, high=4).astype(dtype)
    reduce = REDUCTIONS[name]
    every = [*({"axis": axes} for axes in AXES), {"axis": -1}, {"axis": 1, "keepdims": True}]
    agree(lambda v: [reduce(v, **choice) for choice in every], x, gradients=False)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean"])
def test_gradients_of_reductions(name, dtype):
    reduce = REDUCTIONS[name]
    x = normal(2, 3, 4, dtype=dtype)
    agree(lambda v: [reduce(v), reduce(v, axis=1), reduce(v, axis=(0, 2))], x, gradients="each")


@FEW
@given(npst.arrays(np.float32, npst.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=ELEMENTS))
def test_long_sums_of_float32(x):
    """XLA adds vectors of partial sums in float32: within count x epsilon of the exact sum, which Theano rounds."""
    for found, axis in zip(xla_cases.results(lambda v: [v.sum(), v.sum(0), v.sum(1)], x), (None, 0, 1), strict=True):
        np.testing.assert_allclose(found, x.astype(float).sum(axis), rtol=x.size * np.finfo(np.float32).eps)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_of_nothing(dtype):
    x = np.zeros((0, 3), dtype)
    outputs = xla_cases.results(lambda v: [v.sum(), v.sum(0), v.sum(1), v.prod(0), T.any(v, 0), T.all(v, 0)], x)
    expected = [x.sum(), x.sum(0), x.sum(1), x.prod(0), x.any(0), x.all(0)]
    for found, value in zip(outputs, expected, strict=True):
        xla_cases.same(found, value.astype(found.dtype))
    if dtype != "bool":
        xla_cases.same(xla_cases.results(lambda v: T.max(v, 1), x)[0], np.zeros(0, dtype))
        with pytest.raises(ValueError, match="zero"):
            xla_cases.results(T.max, x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_products_with_zeros(dtype):
    x = np.array([[1, 2, 3], [0, 2, 3], [0, 0, 3]], dtype)
    agree(lambda v: [v.prod(1), v.prod()], x)
    agree(lambda v: [T.prod(v, 1, no_zeros_in_input=True)], x[:1])
    without = theano.tensor.elemwise.ProdWithoutZeros(axis=[1])
    xla_cases.same(xla_cases.results(without, x)[0], np.array([6, 6, 3], dtype))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool"])
@pytest.mark.parametrize(
    ("op", "ufunc"), [(S.and_, "bitwise_and"), (S.or_, "bitwise_or"), (S.xor, "bitwise_xor")], ids=str
)
def test_bitwise_reductions(op, ufunc, dtype):
    x = integers(5, 2, low=0, high=8).astype(dtype)
    x[0] = x.max()
    outputs = xla_cases.results(lambda v: [CAReduce(op, (0,))(v), CAReduce(op, (0, 1))(v)], x)
    expected = [getattr(np, ufunc).reduce(x, 0), getattr(np, ufunc).reduce(x.ravel())]
    for found, value in zip(outputs, expected, strict=True):
        xla_cases.same(found, value)


def test_the_dtype_that_a_sum_is_asked_for():
    agree(lambda v: [T.sum(v, dtype="float64"), T.sum(v, 0, acc_dtype="float64")], normal(20, 3))
    agree(lambda v: [T.sum(v, dtype="float32"), T.prod(v, 0, dtype="int8"), T.sum(v, dtype="uint8")], integers(3, 3))


@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_place_of_the_maximum(dtype):
    x = integers(3, 4, 5, low=0, high=3).astype(dtype)  # many ties: the first of them
    gradients = dtype in FLOATS

    def build(v):
        both = T.max_and_argmax(v, axis=1) + T.max_and_argmax(v, axis=(0, 2)) + T.max_and_argmax(v, axis=(2, 0))
        return [*both, *(T.argmax(v, axis=axis) for axis in (None, 0, 1, -1)), T.argmin(v, axis=1)]

    agree(build, x, gradients=False)
    if gradients:
        agree(build, normal(3, 4, 5, dtype=dtype))


def test_the_place_of_the_maximum_with_nan():
    x = np.array([[1, np.nan, 3], [np.inf, 2, -np.inf]], "float32")
    found = xla_cases.results(lambda v: [T.argmax(v, 1), *T.max_and_argmax(v, 0)], x)
    for one, other in zip(found, [x.argmax(1), x.max(0), x.argmax(0)], strict=True):
        xla_cases.same(one, other)


def test_the_place_of_the_maximum_in_no_rows():
    x = np.zeros((0, 3), "float32")
    xla_cases.same(xla_cases.results(lambda v: T.argmax(v, 1), x)[0], np.zeros(0, "int64"))


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int64"])
def test_cumulative_sums_and_products(dtype, axis):
    if dtype in FLOATS:
        agree(lambda v: [T.cumsum(v, axis), T.cumprod(v, axis)], (normal(3, 4) + 2).astype(dtype))
        return
    x = integers(3, 4).astype(dtype)  # Theano's Python code returns int64 in spite of the dtype that it declares
    found = xla_cases.results(lambda v: [T.cumsum(v, axis), T.cumprod(v, axis)], x)
    for one, other in zip(found, [x.cumsum(axis, dtype), x.cumprod(axis, dtype)], strict=True):
        xla_cases.same(one, other)


def test_variance_norm_and_range():
    x = normal(4, 5)
    agree(lambda v: [v.var(0), v.std(), v.norm(2), v.norm(1, axis=0), T.ptp(v, 1)], x, gradients=False)
    agree(lambda v: [v.var(1), v.std(0)], x)
