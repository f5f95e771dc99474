"""Matrix products, in the precision that the user chose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
from jax import lax

# What `--precision` allows: float32 everywhere; TF32 products (NVIDIA GPUs); operands rounded to bfloat16.
PRECISIONS = ("float32", "tf32", "bf16")
_precision = "float32"


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Matrix products of float32 inside use ``name``, one of ``PRECISIONS``, and accumulate in float32.

    Raises
    ------
    ValueError
        An unknown name.
    """
    global _precision
    if name not in PRECISIONS:
        raise ValueError(f"precision {name!r}: choose one of {', '.join(PRECISIONS)}")
    before, _precision = _precision, name
    try:
        yield
    finally:
        _precision = before


def dot(x: Any, y: Any, dtype: str) -> Any:
    """``x @ y`` for vectors and matrices."""
    return dot_general(x, y, (((x.ndim - 1,), (max(y.ndim - 2, 0),)), ((), ())), dtype)


def dot_general(x: Any, y: Any, dimensions: Any, dtype: str) -> Any:
    """``lax.dot_general`` with a result of ``dtype``."""
    x, y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
    if dtype != "float32":
        return lax.dot_general(x, y, dimensions, precision=lax.Precision.HIGHEST)
    if _precision == "bf16":
        x, y = x.astype(jnp.bfloat16), y.astype(jnp.bfloat16)
        return lax.dot_general(x, y, dimensions, preferred_element_type=jnp.float32)
    exactness = lax.Precision.DEFAULT if _precision == "tf32" else lax.Precision.HIGHEST
    return lax.dot_general(x, y, dimensions, precision=exactness, preferred_element_type=jnp.float32)
