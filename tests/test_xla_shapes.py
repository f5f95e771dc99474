"""Tensors made, shaped, joined and split on XLA, against Theano."""

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from theano.tensor.extra_ops import BroadcastTo
from theano.tensor.opt import MakeVector
from xla_cases import FLOATS, agree, integers, normal

from parmesan_cagem.engines.xla.convert import Unconvertible

FEW = settings(deadline=None, max_examples=8)  # every new shape is a compilation


@pytest.fixture(params=["XLA", "raw"])
def mode(request):
    return xla_cases.raw() if request.param == "raw" else request.param


@pytest.mark.parametrize("dtype", FLOATS)
def test_dimshuffle(dtype, mode):
    agree(
        lambda x, s: [
            x.dimshuffle(2, 0, 1),
            x.dimshuffle("x", 1, "x", 0, 2),
            T.addbroadcast(x[:, :1], 1).dimshuffle(0, 2, "x"),  # drops an axis of length 1
            x.T,
            x.dimshuffle(1, 2, 0) * s.dimshuffle("x", "x", "x"),
        ],
        normal(2, 3, 4, dtype=dtype),
        normal(dtype=dtype),
        mode=mode,
    )


def test_reshape_and_flatten(mode):
    agree(
        lambda x: [
            x.reshape((4, 6)),
            x.reshape((-1, 2)),
            x.reshape((2, -1)),
            x.reshape((x.shape[1], x.shape[0], -1), ndim=3),
            x.flatten(),
            x.flatten(2),
        ],
        normal(2, 3, 4),
        mode=mode,
    )


@FEW
@given(npst.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=4))
def test_reshape_of_any_size(shape):
    x = normal(*shape)
    outputs = xla_cases.results(lambda v: [v.flatten(), v.dimshuffle(2, 1, 0), v.shape, v.size], x)
    expected = [x.ravel(), x.T, np.array(shape), np.array(x.size)]
    for found, value in zip(outputs, expected, strict=True):
        xla_cases.same(found, value)


def _flatten(ndim):
    with pytest.warns(DeprecationWarning, match="Flatten"):
        return T.Flatten(ndim)


def test_the_old_flatten_op():
    for shape in [(2, 3, 4), (0, 3, 2), (2, 0, 0)]:
        outputs = xla_cases.results(lambda v: [_flatten(1)(v), _flatten(2)(v)], normal(*shape), mode=xla_cases.raw())
        xla_cases.same(outputs[0], normal(*shape).ravel())
        xla_cases.same(outputs[1], normal(*shape).reshape(shape[0], shape[1] * shape[2]))


@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "bool"])
def test_new_tensors(dtype, mode):
    agree(
        lambda x: [
            T.zeros((x.shape[0], 3), dtype),
            T.ones((2, x.shape[1]), dtype),
            T.alloc(x[0, 0], 2, 3),
            T.alloc(x[0], 4, x.shape[1]),
            T.zeros_like(x),
            T.ones_like(x),
            T.eye(x.shape[1], x.shape[0], 1, dtype=dtype),
            T.eye(3, dtype=dtype),
            T.identity_like(x),
        ],
        integers(3, 4).astype(dtype),
        gradients=False,
        mode=mode,
    )


def test_large_new_tensors_are_not_stored_in_the_program():
    (found,) = xla_cases.results(lambda x: T.zeros((x.shape[0] * 100, 1000)) + x[0], normal(2))
    xla_cases.same(found, np.full((200, 1000), normal(2)[0]))
    (found,) = xla_cases.results(lambda x: T.tile(T.zeros(5000) + 1, 2) + x, normal(), mode=xla_cases.raw())
    xla_cases.same(found, np.full(10000, 1 + normal(), "float32"))


def test_gradients_of_alloc():
    agree(lambda x: [T.alloc(x[0, 0], 2, 3), T.alloc(x[0], 4, x.shape[1]), T.fill(x, x[0, 1]) * x], normal(3, 4))


def test_empty_tensors_have_their_shape_and_dtype():
    (found,) = xla_cases.results(lambda x: T.AllocEmpty("float32")(x.shape[0], 3), normal(2))
    assert (found.shape, found.dtype) == ((2, 3), np.float32)


def test_arange(mode):
    agree(
        lambda x: [
            T.arange(5),
            T.arange(x.shape[0]),
            T.arange(1, x.shape[1], 2, dtype="float32"),
            T.arange(x.shape[0], 0, -1) * 2,
            T.arange(x.size).reshape(x.shape) + x,
        ],
        normal(3, 4),
        gradients=False,
        mode=mode,
    )


@pytest.mark.parametrize("dtype", FLOATS)
def test_repeat_and_tile(dtype, mode):
    agree(
        lambda x: [
            T.repeat(x, 3, axis=0),
            T.repeat(x, 2, axis=1),
            T.repeat(x, 2),
            T.repeat(x, [2, 0, 1], axis=0),
            T.tile(x, (2, 3)),
            T.tile(x, (2, 1, 1), ndim=3),
            T.extra_ops.broadcast_to(x[0], (2, 3, 4)),
        ],
        normal(3, 4, dtype=dtype),
        mode=mode,
        gradients=False,
    )
    agree(lambda x: [T.repeat(x, 3, axis=0), T.repeat(x, 2, axis=1), T.tile(x, (2, 3))], normal(3, 4, dtype=dtype))


def test_the_old_tile_op_and_broadcast_to():
    (found,) = xla_cases.results(lambda x: T.Tile(2)(x, [2, 3]), normal(2, 2), mode=xla_cases.raw())
    xla_cases.same(found, np.tile(normal(2, 2), (2, 3)))
    (found,) = xla_cases.results(lambda x: BroadcastTo()(x, [3, 2]), normal(2), mode=xla_cases.raw())
    xla_cases.same(found, np.tile(normal(2), (3, 1)))


@pytest.mark.parametrize("dtype", FLOATS)
def test_join_and_stack(dtype, mode):
    agree(
        lambda x, y, n: [
            T.concatenate([x, y], axis=0),
            T.concatenate([x.T, y.T, x.T], axis=-1),
            T.join(1, x, x[:, :1]),
            T.concatenate([x, n], axis=0),
            T.stack([x[0], y[0]]),
            T.stack([x, x], axis=2),
            T.stacklists([[x[0, 0], y[0, 0]], [x[0, 1], 2]]),
            T.concatenate([x]),
        ],
        normal(3, 4, dtype=dtype),
        normal(2, 4, dtype=dtype, seed=1),
        integers(2, 4, dtype="int8"),
        mode=mode,
    )


def test_vectors_made_of_scalars():
    outputs = xla_cases.results(
        lambda x: MakeVector("float64")(x[0], x[1], x.shape[0]), normal(2), mode=xla_cases.raw()
    )
    xla_cases.same(outputs[0], np.array([*normal(2), 2], "float64"))


@pytest.mark.parametrize("dtype", FLOATS)
def test_split(dtype, mode):
    agree(
        lambda x: [
            *T.split(x, [1, 0, 3], 3, axis=1),
            *T.split(x, [2, x.shape[0] - 2], 2, axis=0),
        ],
        normal(3, 4, dtype=dtype),
        mode=mode,
    )


def test_a_split_that_does_not_add_up():
    with pytest.raises(ValueError, match="Split"):
        xla_cases.results(lambda x: T.split(x, [1, 1], 2, axis=0), normal(3))


def test_diagonal(mode):
    agree(
        lambda x: [T.diagonal(x), T.diagonal(x, 1), T.diagonal(x, -1, 0, 2), T.diagonal(x, 0, 2, 1), T.diag(x[0])],
        normal(3, 4, 5),
        gradients=False,
        mode=mode,
    )


def test_shapes_that_are_asserted(mode):
    x = normal(2, 1, 3)

    def build(v):
        fixed = T.specify_shape(v, (2, 1, 3))
        return [fixed * 2, T.patternbroadcast(v, [False, True, False]) + 1, T.unbroadcast(v.sum(1, keepdims=True), 1)]

    agree(build, x, mode=mode)
    with pytest.raises(AssertionError, match="SpecifyShape"):
        xla_cases.results(build, normal(2, 1, 4), mode=mode)
    with pytest.raises(ValueError, match="supposed to be 1"):
        xla_cases.results(lambda v: T.patternbroadcast(v, [False, True, False]) + 1, normal(2, 2, 3), mode=mode)


@pytest.mark.parametrize(
    "build",
    [
        lambda x, n: T.arange(n[0]),
        lambda x, n: x.reshape((n[0], -1), ndim=2),
        lambda x, n: T.zeros(n),
        lambda x, n: T.alloc(x[0], n[0]),
        lambda x, n: T.eye(n[0]),
        lambda x, n: T.repeat(x, n, axis=0),
        lambda x, n: T.tile(x, n, ndim=1),
        lambda x, n: T.split(x, n, 2)[0],
    ],
    ids=["arange", "reshape", "zeros", "alloc", "eye", "repeat", "tile", "split"],
)
def test_a_shape_that_depends_on_data_is_refused(build):
    x, n = T.vector(), T.lvector()
    size = T.stack([n[0]])  # of a length that Theano knows
    function = theano.function([x, n], build(x, size), mode="XLA", on_unused_input="ignore")
    with pytest.raises(Unconvertible, match="depends on data, but XLA needs to know every shape"):
        function(normal(1), [1])


@FEW
@given(st.data())
def test_join_of_any_sizes(data):
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=4))
    axis = data.draw(st.integers(-2, 1))
    parts = [normal(*((n, 2) if axis % 2 == 0 else (2, n)), seed=i) for i, n in enumerate(lengths)]
    (found,) = xla_cases.results(lambda *v: T.concatenate(v, axis=axis), *parts)
    xla_cases.same(found, np.concatenate(parts, axis=axis))
