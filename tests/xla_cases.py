"""Theano functions on XLA beside Theano's own Python code, and how far their results may be apart."""

from __future__ import annotations

import numpy as np
import theano
import theano.tensor as T
from theano.compile.mode import Mode

REFERENCE = "FAST_COMPILE"  # Theano's Python code: no compiler, and few rewrites
FLOATS = ["float32", "float64"]
# A few dozen units in the last place: elementary functions of XLA and NumPy each err by a few, a gradient chains
# several of them, and Theano's Python code sums float32 in float64 where XLA sums in float32. The absolute part is for
# sums that cancel and for functions near a root; the cases keep their values of order 1.
ROUNDING = {"float32": {"rtol": 1e-5, "atol": 4e-6}, "float64": {"rtol": 2e-13, "atol": 2e-14}}


def raw():
    """XLA without a single rewrite: the graph's Ops are converted as they were written."""
    return Mode("xla", optimizer=None)


def tensor(value, broadcastable=False):
    """A variable for that value; its axes are broadcastable (where they have length 1) only on demand."""
    value = np.asarray(value)
    return T.TensorType(str(value.dtype), [broadcastable and side == 1 for side in value.shape])()


def ops(function):
    """The Ops of a compiled function."""
    return [node.op for node in function.maker.fgraph.toposort()]


def same(result, expected):
    """Assert equality of type, dtype, shape and value; float values to rounding."""
    assert isinstance(result, np.ndarray)
    expected = np.asarray(expected)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, **ROUNDING.get(str(expected.dtype), {"rtol": 0}))


def results(build, *values, mode="XLA"):
    """What ``build``, a function of variables that returns expressions, gives for the values."""
    variables = [tensor(value) for value in values]
    return evaluate(variables, listed(build(*variables)), values, mode)


def listed(outputs):
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def evaluate(variables, outputs, values, mode):
    return theano.function(variables, outputs, mode=mode, on_unused_input="ignore")(*values)


def agree(build, *values, gradients=True, mode="XLA", broadcastable=False):
    """Assert that XLA and Theano's Python code give the same outputs and gradients, and return XLA's.

    Gradients are of a random projection of every float output: of their sum, or with ``gradients="each"`` one by one.
    """
    variables = [tensor(value, broadcastable) for value in values]
    outputs = listed(build(*variables))
    expected = evaluate(variables, outputs, values, REFERENCE)
    if gradients:
        rng = np.random.default_rng(0)
        directions = [
            rng.uniform(-1, 1, np.shape(value)).astype(output.dtype)
            for output, value in zip(outputs, expected, strict=True)
        ]
        terms = [T.sum(o * d) for o, d in zip(outputs, directions, strict=True) if o.dtype.startswith("float")]
        wrt = [variable for variable in variables if variable.dtype.startswith("float")]
        losses = terms if gradients == "each" else [sum(terms)]
        slopes = [slope for loss in losses for slope in T.grad(loss, wrt, disconnected_inputs="ignore")]
        outputs = [*outputs, *slopes]
        expected = [*expected, *evaluate(variables, slopes, values, REFERENCE)]
        assert any(slope.any() for slope in expected[-len(slopes) :])
    found = evaluate(variables, outputs, values, mode)
    for one, other in zip(found, expected, strict=True):
        same(one, other)
    return found


def normal(*shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def integers(*shape, low=-4, high=5, dtype="int64", seed=0):
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)
