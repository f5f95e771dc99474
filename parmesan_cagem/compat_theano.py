"""Repairs of Theano itself, once it has been imported; each a no-op where the original still works."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
from theano import scalar
from theano.graph.basic import Variable
from theano.link.c import cmodule
from theano.sandbox import rng_mrg
from theano.scalar.basic import NumpyAutocaster
from theano.tensor.signal import pool
from theano.tensor.type import TensorType
from theano.tensor.var import TensorVariable

from parmesan_cagem.toolchain import blas_flags, numpy_has_c_code


def repair() -> None:
    """Load the BLAS of the C code, restore names for Lasagne 0.1, mend what NumPy 2 broke; harmless when repeated."""
    if "=scipy_sgemm_" in theano.config.gcc__cxxflags:
        ctypes.CDLL(blas_flags()["preload"], mode=ctypes.RTLD_GLOBAL)
    _restore_names()
    cmodule.output_subprocess_Popen = _output_of
    if not numpy_has_c_code():
        _mend_autocasting()
        _mend_uniform_draws()
        # A few gradients give a Theano type or variable where NumPy wants a dtype; since 2.5 its `dtype` is not enough.
        for cls in (scalar.Scalar, scalar.ScalarVariable, TensorType, TensorVariable):
            cls.__numpy_dtype__ = property(lambda self: np.dtype(self.dtype))


def _output_of(command: Sequence[str]) -> tuple[bytes, bytes, int]:
    """Output, error output and exit status of a compiler, which does not outlive a compilation that is interrupted.

    It has a session of its own, so that Ctrl-C reaches only us and we know that it was no error of the compiler's; the
    programs that it starts belong to that session too. SIGTERM lets it remove its temporary files.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603  Theano's own command, without a shell
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            raise
    return out, err, process.returncode


def _restore_names() -> None:
    """Give Lasagne 0.1 what it looks for under names that Theano-PyMC changed."""
    if not hasattr(theano, "gof"):
        # lasagne.utils.as_theano_expression, used by get_output(layer, {layer: expression}), tests theano.gof.Variable.
        theano.gof = _module("theano.gof", Variable=Variable)
    if not hasattr(rng_mrg, "MRG_RandomStreams"):
        rng_mrg.MRG_RandomStreams = rng_mrg.MRG_RandomStream
    if "theano.tensor.signal.downsample" not in sys.modules:
        theano.tensor.signal.downsample = _module("theano.tensor.signal.downsample", max_pool_2d=pool.pool_2d)


def _module(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


# NumPy 2

# What the C code multiplies its integers with. The float32 is one bit below 2**-31, so that no draw is 1.
_MRG_NORM = {"float32": np.float32(4.6566126e-10), "float64": np.float64(4.656612873077392578125e-10)}


def _mend_autocasting() -> None:
    """Let Python numbers get the smallest type that holds them exactly, as with NumPy 1.

    Theano casts a number to one type after another and takes the first whose value equals it. NumPy 2 compares in the
    type of the cast value, where 0.1 equals float32(0.1), and raises where the number does not fit: a float64 graph
    would compute with constants in single precision, and the 1024 of an int64 product could not be made.
    """
    original = NumpyAutocaster.__call__
    if hasattr(original, "mended"):
        return

    def smallest_exact(self: NumpyAutocaster, x: Any) -> np.ndarray:
        single = isinstance(x, float) and theano.config.floatX != "float64"  # Theano then takes floatX, exact or not
        if hasattr(x, "dtype") or single or theano.config.cast_policy != "custom":
            return original(self, x)
        candidates = [np.dtype(name) for name in self.dtypes if name != "float16"]
        exact = np.asarray(x, candidates[-1])
        with np.errstate(over="ignore"):
            values = [exact.astype(dtype) for dtype in candidates]
        return next((value for value in values if value == exact), values[-1])

    smallest_exact.mended = True  # type: ignore[attr-defined]
    NumpyAutocaster.__call__ = smallest_exact


def _mend_uniform_draws() -> None:
    """Let MRG31k3p draw without C code.

    Theano's own Python code (``mrg_uniform.perform``) meets a Python integer beyond int32, which NumPy 2 refuses. Where
    it worked, it multiplied in float64: the last bit of a float32 draw then differed from the C code's. This one is the
    C code in NumPy, all streams at once: the same states and the same draws in every bit.
    """
    original = rng_mrg.mrg_uniform.perform
    if hasattr(original, "mended"):
        return

    def perform(self: Any, node: Any, inputs: Any, outputs: Any, params: Any) -> None:
        dtype = self.output_type.dtype
        if dtype not in _MRG_NORM:  # float16, which the C code does not know either
            return original(self, node, inputs, outputs, params)
        state, size = np.array(inputs[0]), tuple(inputs[1])
        count, streams = int(np.prod(size, dtype=np.int64)), len(state)
        if count > rng_mrg.M1:
            raise ValueError("rng_mrg does not support more than 2**31 - 1 samples")
        draws = np.empty(count, dtype)
        for start in range(0, count, streams):
            block = draws[start : start + streams]
            state[: len(block)], whole = _next_mrg(state[: len(block)])
            block[:] = whole.astype(dtype) * _MRG_NORM[dtype]
        outputs[0][0] = node.outputs[0].type.filter(state)
        outputs[1][0] = node.outputs[1].type.filter(draws.reshape(size))
        return None

    perform.mended = True  # type: ignore[attr-defined]
    rng_mrg.mrg_uniform.perform = perform


def _next_mrg(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of MRG31k3p for every row of int32 states: the new states, and integers between 1 and 2**31 - 1.

    Sums wrap around in int32; a negative one, or one beyond the modulus, is brought back by subtracting the modulus.
    """
    m1, m2 = np.int32(2**31 - 1), np.int32(2**31 - 21069)

    def modulo(y: np.ndarray, m: np.int32) -> np.ndarray:
        return np.where((y < 0) | (y >= m), y - m, y)

    x11, x12, x13, x21, x22, x23 = state.T
    y1 = modulo(((x12 & 511) << 22) + (x12 >> 9) + ((x13 & 16777215) << 7) + (x13 >> 24), m1)
    y1 = modulo(y1 + x13, m1)
    y2 = modulo(((x21 & 65535) << 15) + 21069 * (x21 >> 16), m2)
    y3 = modulo(((x23 & 65535) << 15) + 21069 * (x23 >> 16), m2)
    y2 = modulo(modulo(y3 + x23, m2) + y2, m2)
    whole = y1 - y2
    return np.stack([y1, x11, x12, y2, x21, x22], axis=1), np.where(whole > 0, whole, whole + m1)
