"""Theano's MRG31k3p random streams in XLA, bit for bit (L'Ecuyer & Touzin, 2000; constants of theano.sandbox.rng_mrg).

A stream's state is six int32, ``(x11, x12, x13, x21, x22, x23)``. Number i of a call comes from stream ``i mod n``, so
the n streams advance together and a call of m numbers is ``ceil(m / n)`` rounds of vector arithmetic.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from theano.graph.basic import Apply
from theano.sandbox.multinomial import ChoiceFromUniform, MultinomialFromUniform
from theano.sandbox.rng_mrg import mrg_uniform

from parmesan_cagem.engines.xla.convert import Unconvertible, convert, static

M1, M2 = np.int32(2147483647), np.int32(2147462579)  # 2^31 - 1, 2^31 - 21069
# The C code's factors; its float32 one is not the nearest float to 2^-31.
NORM = {"float32": np.float32(4.6566126e-10), "float64": np.float64(4.656612873077392578125e-10)}


def _wrap(y: Any, modulus: np.int32) -> Any:
    """One subtraction of the modulus; a sum that overflowed int32 shows as negative and wraps back."""
    return jnp.where((y < 0) | (y >= modulus), y - modulus, y)


def advance(state: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """One step of every stream.

    Parameters
    ----------
    state : tuple of six (n,) int32

    Returns
    -------
    state : tuple of six (n,) int32
    z : (n,) int32
        In 1..M1; times ``NORM`` it is the uniform number.
    """
    x11, x12, x13, x21, x22, x23 = state
    y1 = ((x12 & 511) << 22) + (x12 >> 9) + ((x13 & 16777215) << 7) + (x13 >> 24)
    y1 = _wrap(_wrap(y1, M1) + x13, M1)
    y2 = _wrap(((x21 & 65535) << 15) + 21069 * (x21 >> 16), M2)
    y3 = _wrap(((x23 & 65535) << 15) + 21069 * (x23 >> 16), M2)
    y3 = _wrap(_wrap(y3 + x23, M2) + y2, M2)
    z = jnp.where(y1 <= y3, y1 - y3 + M1, y1 - y3)
    return (y1, x11, x12, y3, x21, x22), z


def uniform(states: Any, count: int, dtype: str) -> tuple[Any, Any]:
    """``count`` numbers in (0, 1) and the new states.

    Parameters
    ----------
    states : (n, 6) int32
    count : int
    dtype : {"float32", "float64"}

    Returns
    -------
    states : (n, 6) int32
    numbers : (count,)
    """
    n = states.shape[0]
    whole, rest = divmod(count, n)
    state, rounds = lax.scan(lambda s, _: advance(s), tuple(states.T), length=whole)  # rounds: (whole, n)
    numbers = rounds.reshape(-1)
    if rest:
        beyond, last = advance(tuple(part[:rest] for part in state))
        state = tuple(jnp.concatenate([new, old[rest:]]) for new, old in zip(beyond, state, strict=True))
        numbers = jnp.concatenate([numbers, last])
    return jnp.stack(state, axis=1), numbers.astype(dtype) * NORM[dtype]


@convert.register(mrg_uniform)
def _mrg_uniform(op: mrg_uniform, node: Apply, states: Any, size: Any) -> Any:
    sizes = tuple(int(s) for s in static(size, node, "the size"))
    dtype = op.output_type.dtype
    if dtype not in NORM:
        raise Unconvertible(f"engine xla: random numbers of dtype {dtype}; use float32 or float64")
    states, numbers = uniform(jnp.asarray(states), int(np.prod(sizes)), dtype)
    return states, numbers.reshape(sizes)


@convert.register(MultinomialFromUniform)
def _multinomial(op: MultinomialFromUniform, node: Apply, p: Any, uniforms: Any, draws: Any) -> Any:
    # Outcome j is drawn when the running sum of p first exceeds the uniform number at j. Theano sums in float64.
    count = int(static(draws, node, "the number of draws"))
    p, uniforms = jnp.asarray(p, "float64"), jnp.asarray(uniforms, "float64")
    sums: list[Any] = []
    for j in range(p.shape[1]):
        sums.append(p[:, j] if j == 0 else sums[-1] + p[:, j])
    below = jnp.stack(sums, axis=1)[None] <= uniforms.reshape(count, -1, 1)  # (draws, rows, K)
    chosen = jnp.sum(below, axis=2)
    hits = chosen[..., None] == jnp.arange(p.shape[1])
    return jnp.sum(hits, axis=0)


# Draws without replacement are a subclass in Theano, but another function: unknown here, like any other Op.
convert.register(ChoiceFromUniform, convert.dispatch(object))
