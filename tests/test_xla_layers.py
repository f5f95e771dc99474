"""Lasagne's layers on XLA, against Theano's Python code: outputs, gradients, the very same noise."""

import lasagne
import numpy as np
import pytest
import theano
import theano.tensor as T
import xla_cases
from lasagne import layers as L
from theano.sandbox.rng_mrg import MRG_RandomStream
from xla_cases import integers, normal

NONLINEARITIES = ["sigmoid", "softmax", "tanh", "rectify", "leaky_rectify", "linear"]


def of_matrix(build):
    """A network of an input of (4, 6), and that input."""
    return lambda: (build(L.InputLayer((4, 6))), normal(4, 6))


def of_tensor(build):
    return lambda: (build(L.InputLayer((2, 3, 4))), normal(2, 3, 4))


def dense(name):
    nonlinearity = getattr(lasagne.nonlinearities, name)
    return lambda x: L.DenseLayer(x, 5, nonlinearity=nonlinearity, b=lasagne.init.Normal(0.3))


def two(merge):
    return lambda x: merge([L.DenseLayer(x, 5), L.DenseLayer(x, 5, nonlinearity=T.tanh)])


DETERMINISTIC = {
    **{f"dense, {name}": of_matrix(dense(name)) for name in NONLINEARITIES},
    "dense, no bias": of_matrix(lambda x: L.DenseLayer(x, 5, b=None)),
    "dense of a tensor": of_tensor(lambda x: L.DenseLayer(x, 5)),
    "NIN": of_tensor(lambda x: L.NINLayer(x, 5)),
    "embedding": lambda: (L.EmbeddingLayer(L.InputLayer((4, 3)), 7, 2), integers(4, 3, low=0, high=7)),
    "concat": of_matrix(two(L.ConcatLayer)),
    "concat of rows": of_matrix(two(lambda pair: L.ConcatLayer(pair, axis=0))),
    "sum": of_matrix(two(L.ElemwiseSumLayer)),
    "sum with coefficients": of_matrix(two(lambda pair: L.ElemwiseSumLayer(pair, coeffs=[0.5, -2]))),
    "merge by maximum": of_matrix(two(lambda pair: L.ElemwiseMergeLayer(pair, T.maximum))),
    "flatten": of_tensor(L.FlattenLayer),
    "reshape": of_tensor(lambda x: L.ReshapeLayer(x, ([0], -1, 2, [1]))),
    "dimshuffle": of_tensor(lambda x: L.DimshuffleLayer(x, (2, "x", 0, 1))),
    "slice": of_tensor(lambda x: L.SliceLayer(x, slice(-3, None, 2), axis=2)),
    "slice at a place": of_tensor(lambda x: L.SliceLayer(x, -1, axis=1)),
    "nonlinearity": of_matrix(lambda x: L.NonlinearityLayer(x, T.nnet.softplus)),
    "local response": lambda: (L.LocalResponseNormalization2DLayer(L.InputLayer((2, 3, 4, 4))), normal(2, 3, 4, 4)),
    "global pool": of_tensor(lambda x: L.GlobalPoolLayer(L.DimshuffleLayer(x, (0, 1, 2, "x")))),
}
NOISY = {
    "dropout": of_matrix(lambda x: L.DropoutLayer(x, p=0.4)),
    "dropout without rescaling": of_matrix(lambda x: L.DropoutLayer(x, p=0.4, rescale=False)),
    "Gaussian noise": of_matrix(lambda x: L.GaussianNoiseLayer(x, sigma=0.3)),
    "dense between noises": of_matrix(lambda x: L.GaussianNoiseLayer(L.DenseLayer(L.DropoutLayer(x, p=0.5), 5), 0.1)),
}


def build(case):
    """The network, its input's value, and the same weights at every call."""
    lasagne.random.set_rng(np.random.RandomState(1))
    network, value = case()
    for layer in L.get_all_layers(network):
        if hasattr(layer, "_srng"):
            layer._srng = MRG_RandomStream(7)
    return network, value


def compare(case, calls, **flags):
    found = {}
    for mode in ("XLA", xla_cases.REFERENCE):
        network, value = build(case)
        x = xla_cases.tensor(value)
        output = L.get_output(network, x, **flags)
        wrt = L.get_all_params(network, trainable=True) + ([x] if value.dtype == np.float32 else [])
        direction = np.random.default_rng(0).uniform(-1, 1, network.output_shape).astype("float32")
        loss = T.sum(output * direction)
        updates = [(parameter, parameter - 0.1 * T.grad(loss, parameter)) for parameter in wrt if parameter is not x]
        gradient = [T.grad(loss, x)] if x in wrt else []
        step = theano.function([x], [output, *gradient], updates=updates, mode=mode)
        outputs = [result for _ in range(calls) for result in step(value)]
        found[mode] = outputs + L.get_all_param_values(network)
    for one, other in zip(*found.values(), strict=True):
        xla_cases.same(one, other)
    return outputs


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_layers(name):
    """Two steps of gradient descent: what the second gives depends on the gradients of the first."""
    compare(DETERMINISTIC[name], calls=2)


def test_padding():
    """Without its gradient, on which Theano's fast_run rewrites do not come to an end, whatever the linker."""
    padded = L.PadLayer(L.InputLayer((2, 3, 4)), [(1, 2), (0, 1)], val=0.5, batch_ndim=1)
    xla_cases.agree(lambda x: L.get_output(padded, x), normal(2, 3, 4), gradients=False)


@pytest.mark.parametrize("name", NOISY)
def test_noise(name):
    outputs = compare(NOISY[name], calls=2)
    assert (outputs[0] != outputs[len(outputs) // 2]).any()  # the stream went on


@pytest.mark.parametrize("name", NOISY)
def test_layers_of_a_trained_network(name):
    compare(NOISY[name], calls=1, deterministic=True)
