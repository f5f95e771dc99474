"""Nested tuples of NumPy arrays from a pickle, as Python 2 wrote them, read with distrust: nothing in it can run code.

Of a pickle's instructions only those that such a file needs are known, and of the world three names, for which
stand-ins of ours answer. So neither Python's C code nor NumPy's sees what the file says: some lengths and numbers that
it could give would fill the memory, and NumPy believes whatever state an array or a dtype is given.
"""

from __future__ import annotations

import gzip
import math
import pickle
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem.errors import UserError, words

_NUMBERS = {"f4", "f8", "i4", "i8", "u1"}
_BYTES = 256 << 20  # in all; MNIST's has 220 MB
_READS, _LINE = 10_000, 200  # MNIST's takes 400, its longest line has 22 bytes
_LEVELS, _PLACES = 3, 8  # of tuples: shared ones, thirty deep, stand for a billion


def load_arrays(stream: IO[bytes] | gzip.GzipFile) -> Any:
    """The tuples and arrays, read-only, that a pickle of protocol 0 to 2 holds.

    Raises
    ------
    UserError
        It is damaged, or asks for something else.
    """
    try:
        # latin1: Python 2's str holds the arrays' bytes.
        return _finished(_Unpickler(_Bounded(stream), encoding="latin1").load())
    except UserError:
        raise
    except Exception as error:  # there is one for every kind of damage
        raise UserError(f"pickle: damaged ({words(error)}); fetch it again") from error


class _Bounded:
    """A stream of so many bytes, read in so many pieces."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile) -> None:
        self._stream, self._bytes, self._reads = stream, _BYTES, _READS

    def read(self, size: int) -> bytes:
        self._bytes, self._reads = self._bytes - size, self._reads - 1
        if self._bytes < 0 or self._reads < 0:
            raise UserError(f"pickle: has more than {_BYTES} bytes or {_READS} instructions; do not use it")
        return self._stream.read(size)

    def readline(self) -> bytes:
        self.read(0)
        return self._stream.readline(_LINE)


class _Instructions(dict[int, Any]):
    """What each of the known instructions does."""

    def __missing__(self, code: int) -> Any:
        raise UserError(f"pickle: has the instruction {bytes([code])!r}, which arrays do without; do not use it")


class _Dtype:
    """Stands for a dtype: its code, and a byte order once it has been told."""

    __slots__ = ("name",)

    def __init__(self, code: Any, *_: Any) -> None:
        if type(code) is not str or code not in _NUMBERS:
            raise UserError(f"pickle: asks for numbers of type {code!a:.50}, only {', '.join(sorted(_NUMBERS))} are")
        self.name = code

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|"):
            raise UserError("pickle: gives a dtype a strange state")
        self.name = state[1] + self.name[-2:]


class _Array:
    """Stands for an array until its state comes."""

    __slots__ = ("array",)

    def __init__(self, *_: Any) -> None:
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5 or type(state[1]) is not tuple or type(state[2]) is not _Dtype:
            raise UserError("pickle: gives an array a strange state")
        _, shape, dtype, fortran, content = state
        if not all(type(size) is int and size >= 0 for size in shape) or type(content) not in (str, bytes):
            raise UserError("pickle: gives an array a strange shape or content")
        numbers = np.dtype(dtype.name)
        if math.prod(shape) * numbers.itemsize != len(content):
            raise UserError(f"pickle: has {len(content)} bytes for an array, which do not fill its shape")
        data = content.encode("latin1") if isinstance(content, str) else content
        array = np.frombuffer(data, numbers) if data else np.empty(0, numbers)
        self.array = array.reshape(shape, order="F" if fortran else "C")


class _Class:
    """Stands for the class of arrays, which is an argument and is never called."""

    __slots__ = ()


class _Unpickler(pickle._Unpickler):
    """The one in Python: unlike C's, it makes no room for what a pickle only announces."""

    dispatch: ClassVar = _Instructions(
        (code[0], pickle._Unpickler.dispatch[code[0]])
        for code in (
            *(pickle.PROTO, pickle.GLOBAL, pickle.REDUCE, pickle.BUILD, pickle.STOP, pickle.MARK, pickle.POP),
            *(pickle.NONE, pickle.NEWFALSE, pickle.NEWTRUE, pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2),
            *(pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.EMPTY_TUPLE),
            *(pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
            *(pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT),
        )
    )
    _known: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Class,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise UserError(f"pickle: asks for {module}.{name}, only NumPy arrays are allowed; do not use it")
        return self._known[module, name]


def _finished(value: Any, levels: int = _LEVELS) -> Any:
    """The arrays in place of what stands for them."""
    if type(value) is tuple and levels and len(value) <= _PLACES:
        return tuple(_finished(one, levels - 1) for one in value)
    if type(value) is not _Array or value.array is None:
        raise UserError("pickle: holds something else than arrays; fetch it again")
    return value.array
