"""float32 in half the bytes: bfloat16, 8 significant bits in float32's range, as unsigned integers of 16 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rounded(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The upper halves of float32's bits, rounded to the nearest, ties to even; finite values only.

    Examples
    --------
    >>> exact(rounded(np.float32([1.0, -2.5, 1 + 2**-8, 1 + 2**-7]))).tolist()
    [1.0, -2.5, 1.0, 1.0078125]
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.minimum(rounded & np.uint32(0x7FFF), np.uint32(0x7F7F)).astype(np.uint16) | (
        (bits >> np.uint32(16)).astype(np.uint16) & np.uint16(0x8000)
    )


def exact(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Inverse of :func:`rounded`: exact."""
    return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
