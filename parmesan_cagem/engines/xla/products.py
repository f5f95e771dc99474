"""Matrix products, in the precision that the user chose."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
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


def dot(x: Any, y: Any, dtype: str, x_transposed: bool = False, y_transposed: bool = False) -> Any:
    """``x @ y`` for vectors and matrices.

    Parameters
    ----------
    x_transposed, y_transposed : bool
        Whether a factor is the transpose of what lies in memory.

    Notes
    -----
    XLA's CPU products (Eigen) are three to ten times slower for two shapes of gradients: few rows times a transposed
    matrix, and a transposed matrix times few columns. The other way round, ``(y^T x^T)^T``, they run at full speed; the
    barrier keeps XLA from turning them back.
    """
    if on_cpu() and x.ndim == y.ndim == 2 and dtype == "float32":
        rows, inner = x.shape
        columns = y.shape[1]
        if (y_transposed and rows <= 256 <= columns) or (x_transposed and columns <= 128 < rows and inner > columns):
            left = lax.optimization_barrier(y.T) if x_transposed else y.T
            return lax.optimization_barrier(dot_general(left, x.T, (((1,), (0,)), ((), ())), dtype)).T
    return dot_general(x, y, (((x.ndim - 1,), (max(y.ndim - 2, 0),)), ((), ())), dtype)


def column_sums(x: Any) -> Any:
    """The sum over the leading axis, (rows, columns) float32 -> (columns,).

    As a product with ones where XLA's CPU reductions go over windows of 32 rows in two passes: before JAX 0.7.
    """
    if on_cpu() and jax.__version_info__ < (0, 7) and x.shape[0] >= 32:
        ones = jnp.ones((4, x.shape[0]), x.dtype)  # four rows: a single one would be fused into a slow loop
        return lax.dot_general(ones, x, (((1,), (0,)), ((), ())), precision=lax.Precision.HIGHEST)[0]
    return jnp.sum(x, axis=0)


def on_cpu() -> bool:
    """Whether programs are compiled for the CPU."""
    return jax.default_backend() == "cpu"


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
