"""Matrices of real numbers from MAT files of version 5, read with distrust: SciPy's reader crashes on damaged ones."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEAD = 128  # bytes; the last four hold version and byte order
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)  # double, single, int8 .. uint64; logical ones are uint8
_COMPLEX = 1 << 11  # a flag

Element = tuple[int, memoryview]  # type and content


def is_version_5(head: bytes) -> bool:
    """Whether a file that begins so is a MAT file of version 5, also known as 6 or 7."""
    return head[HEAD - 4 : HEAD] in _ORDERS


def read_matrices(content: bytes, names: Collection[str], limit: int) -> dict[str, NDArray[Any]]:
    """Read the named variables of a file; those that it lacks are missing from the result.

    Parameters
    ----------
    content : bytes
        Of the whole file, version 5.
    names : collection of str
    limit : int
        Bytes that all its variables may unpack to.

    Returns
    -------
    dict
        Matrices (rows, columns), of the type of number in which the file stores them.

    Raises
    ------
    ValueError
        If the file is damaged, unpacks to more, or one of the variables is no matrix of real numbers.
    """
    order, found, left = _ORDERS[content[HEAD - 4 : HEAD]], {}, limit
    for kind, element in _elements(memoryview(content)[HEAD:], order):
        if kind == _COMPRESSED:
            unpacked = _inflate(element, left)
            left -= len(unpacked)
            kind, element = next(_elements(memoryview(unpacked), order), (0, element))
        if kind == _MATRIX:
            name, matrix = _matrix(_elements(element, order), order, names)
            if matrix is not None:
                if name in found:
                    raise ValueError(f"{name} is there twice")
                found[name] = matrix
    return found


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """The elements that follow one another in `data`."""
    place = 0
    while place < len(data):
        if place + 8 > len(data):
            raise ValueError("it ends early")
        kind, size = struct.unpack_from(order + "II", data, place)
        place += 8
        if kind >> 16:  # a small one: type, size and content share eight bytes
            kind, size, start = kind & 0xFFFF, kind >> 16, place - 4
            if size > 4:
                raise ValueError("an element has an impossible size")
        else:
            start, place = place, place + size
            if kind != _COMPRESSED:
                place += -size % 8
        if start + size > len(data):
            raise ValueError("it ends early")
        yield kind, data[start : start + size]


def _inflate(packed: memoryview, limit: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        unpacked = inflate.decompress(packed, limit + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(unpacked) > limit:
        raise ValueError("it unpacks to more than is allowed")
    if not inflate.eof:
        raise ValueError("it ends early")
    return unpacked


def _matrix(parts: Iterator[Element], order: str, names: Collection[str]) -> tuple[str, NDArray[Any] | None]:
    """Name and values of a matrix; no values if nobody asked for it."""
    try:
        flags = np.frombuffer(next(parts)[1], order + "u4").tolist()
        shape = np.frombuffer(next(parts)[1], order + "i4").tolist()
        name = bytes(next(parts)[1]).decode("latin1")
        if name not in names:
            return name, None
        if not flags or flags[0] & 0xFF not in _NUMERIC_CLASSES or flags[0] & _COMPLEX or len(shape) != 2:
            raise ValueError(f"{name} is no matrix of real numbers")
        kind, values = next(parts)
    except StopIteration:
        raise ValueError("a variable is not complete") from None
    if kind not in _NUMBERS:
        raise ValueError(f"{name} is no matrix of real numbers")
    dtype = np.dtype(order + _NUMBERS[kind])
    if math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name} has {len(values)} bytes, which do not fill its shape {tuple(shape)}")
    return name, np.frombuffer(values, dtype).reshape(shape, order="F")
