"""Matrix products and the softmax family on XLA, against Theano."""

import itertools

import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from theano.tensor import nnet
from xla_cases import FLOATS, agree, integers, normal

FEW = settings(deadline=None, max_examples=10)  # every new shape is a compilation


@pytest.mark.parametrize("dtype", [*FLOATS, "int64", "int8"])
@pytest.mark.parametrize(("x", "y"), list(itertools.product([(4,), (3, 4)], [(4,), (4, 5)])))
def test_dot(x, y, dtype):
    if dtype in FLOATS:
        agree(T.dot, normal(*x, dtype=dtype), normal(*y, dtype=dtype, seed=1))
    else:
        agree(T.dot, integers(*x, dtype=dtype), integers(*y, dtype=dtype, seed=1), gradients=False)


@pytest.mark.parametrize(("x", "y"), [("float32", "float64"), ("int8", "float32"), ("int64", "float32")])
def test_dot_of_mixed_dtypes(x, y):
    agree(T.dot, normal(3, 4).astype(x), normal(4, 2, seed=1).astype(y))


@FEW
@given(st.tuples(*[st.integers(0, 7)] * 3))
def test_dot_of_any_size(sides):
    rows, inner, columns = sides
    (found,) = xla_cases.results(T.dot, normal(rows, inner), normal(inner, columns, seed=1))
    xla_cases.same(found, normal(rows, inner) @ normal(inner, columns, seed=1))


def test_float32_products_are_not_rounded_to_less():
    x, y = normal(64, 64), normal(64, 64, seed=1)
    (found,) = xla_cases.results(T.dot, x, y)
    assert abs(found - x.astype(float) @ y).max() < 2e-5  # with TF32 or bfloat16 it would be 1e-2


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("x", "y"), [((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (2, 4)), ((2, 4), (2, 4, 5)), ((2, 4), (2, 4))]
)
def test_batched_dot(x, y, dtype):
    agree(T.batched_dot, normal(*x, dtype=dtype), normal(*y, dtype=dtype, seed=1))


@pytest.mark.parametrize("dtype", FLOATS)
def test_tensor_products(dtype):
    x, y = normal(2, 3, 4, dtype=dtype), normal(4, 3, 5, dtype=dtype, seed=1)
    agree(lambda a, b: T.tensordot(a, b, axes=[[2, 1], [0, 1]]), x, y)
    agree(lambda a, b: [T.dot(a, b.dimshuffle(1, 0, 2)[0]), T.outer(a[0, 0], b[0, 0])], x, normal(4, 3, 5, dtype=dtype))


@pytest.mark.parametrize("mode", ["XLA", "raw"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax(dtype, mode):
    x = 3 * normal(4, 5, dtype=dtype)
    mode = xla_cases.raw() if mode == "raw" else mode
    agree(lambda v: [nnet.softmax(v), nnet.softmax(v[:1]), nnet.softmax_graph(v)], x, mode=mode)
    agree(lambda v: [nnet.logsoftmax(v), T.log(nnet.softmax(v))], x, mode=mode)
    agree(lambda v, b: nnet.softmax_with_bias(v, b), x, normal(5, dtype=dtype, seed=1), mode=mode)


@pytest.mark.parametrize("dtype", FLOATS)
def test_softmax_of_large_numbers(dtype):
    x = np.array([[1000, 0, -1000], [-1000, -1000, -999]], dtype)
    soft, log = xla_cases.results(lambda v: [nnet.softmax(v), nnet.logsoftmax(v)], x)
    xla_cases.same(soft, np.array([[1, 0, 0], [1 / (2 + np.e), 1 / (2 + np.e), np.e / (2 + np.e)]], dtype))
    assert np.isfinite(log).all()


@pytest.mark.parametrize("mode", ["XLA", "raw"])
@pytest.mark.parametrize("target", ["int64", "int32"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_with_classes(dtype, target, mode):
    classes = np.array([1, 0, 4, 4]).astype(target)
    mode = xla_cases.raw() if mode == "raw" else mode
    x, bias = normal(4, 5, dtype=dtype), normal(5, dtype=dtype, seed=1)

    def build(v, b, y):
        return [
            nnet.categorical_crossentropy(nnet.softmax(v), y),
            nnet.categorical_crossentropy(nnet.softmax(v + b), y).mean(),
            nnet.categorical_crossentropy(nnet.sigmoid(v), y),  # not of a softmax: no rewrite joins the two
        ]

    agree(build, x, bias, classes, mode=mode)


@pytest.mark.parametrize("mode", ["XLA", "raw"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_of_softmax_as_one_op(dtype, mode):
    x, bias, classes = normal(4, 5, dtype=dtype), normal(5, dtype=dtype, seed=1), np.array([3, 0, 4, 4])
    mode = xla_cases.raw() if mode == "raw" else mode
    # Its gradient with respect to the softmax, an output too, is not for Theano to give: only the first is projected.
    loss = lambda v, b: nnet.crossentropy_softmax_argmax_1hot_with_bias(v, b, classes)  # noqa: E731
    agree(lambda v, b: [loss(v, b)[0]], x, bias, mode=mode)
    agree(lambda v, b: list(loss(v, b)), x, bias, mode=mode, gradients=False)


def test_the_rewrites_reach_the_ops_meant_here():
    x, y = T.matrix(), T.lvector()
    loss = nnet.categorical_crossentropy(nnet.softmax(x), y).sum()
    reached = {type(op) for op in xla_cases.ops(theano.function([x, y], [loss, T.grad(loss, x)], mode="XLA"))}
    assert reached >= {nnet.CrossentropySoftmaxArgmax1HotWithBias, nnet.CrossentropySoftmax1HotWithBiasDx}
    loss = nnet.categorical_crossentropy(nnet.sigmoid(x), y).sum()
    reached = {type(op) for op in xla_cases.ops(theano.function([x, y], [loss, T.grad(loss, x)], mode="XLA"))}
    assert reached >= {nnet.CrossentropyCategorical1Hot, nnet.CrossentropyCategorical1HotGrad}
    gradient = T.grad(nnet.softmax(x)[0, 0], x)
    assert nnet.SoftmaxGrad in {type(op) for op in xla_cases.ops(theano.function([x], gradient, mode="XLA"))}


@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_with_distributions(dtype):
    p = np.random.default_rng(0).dirichlet(np.ones(5), 4).astype(dtype)
    agree(lambda v, q: nnet.categorical_crossentropy(nnet.softmax(v), q), normal(4, 5, dtype=dtype), p)
    agree(lambda v, q: nnet.binary_crossentropy(nnet.sigmoid(v), q), normal(4, 5, dtype=dtype), p)


@pytest.mark.parametrize("dtype", FLOATS)
def test_activations(dtype):
    x = 4 * normal(4, 5, dtype=dtype)
    agree(lambda v: [nnet.relu(v), nnet.relu(v, 0.1), nnet.elu(v), nnet.softplus(v), nnet.sigmoid(v)], x)
    agree(lambda v: [nnet.hard_sigmoid(v), nnet.selu(v)], x)
