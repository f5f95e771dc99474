"""The compiled functions behind :mod:`parmesan_cagem.views`, of any model, called in blocks of rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import theano.tensor as T
from lasagne.layers import get_output
from numpy.typing import NDArray

from parmesan_cagem import densities
from parmesan_cagem.engines import Arrays, Engine
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.trained import Trained

Function = Callable[..., Arrays]
ROWS = 1000  # rows of one call: small enough for any memory, and one shape to compile for


def once(build: Callable[[Trained, Engine], Function]) -> Callable[[Trained, Engine], Function]:
    """Keep what ``build`` compiled for the last four models: a figure calls each function several times."""
    kept: Any = functools.lru_cache(maxsize=4)(build)
    return kept


@once
def class_encoder(trained: Trained, engine: Engine) -> Function:
    """x, noise of the variables before y -> q(y|.): (B, D), (B, units) ... -> (B, K)."""
    model, x = trained.model, T.matrix("x")
    before = {v.eps: T.matrix(f"eps_{v.name}") for v in model.variables if not v.per_class}
    logits = get_output(model.q_y, {model.x: x, **before}, statistics=RunningStatistics())
    return engine.function([x, *before.values()], [T.exp(densities.log_softmax(logits))], "q(y|.)")


@once
def encoder(trained: Trained, engine: Engine) -> Function:
    """x, one-hot y if there is one, all noise -> a draw of every variable, (B, units) each, and the mean of p(x|.)."""
    model: Any = trained.model  # only some have a layer y
    x = T.matrix("x")
    y = [T.matrix("y")] if model.q_y is not None else []
    eps = [T.matrix(f"eps_{v.name}") for v in model.variables]
    terms = model.terms(x, eps, RunningStatistics(), *y)
    known = model.inputs(x, eps)
    if y:
        known[model.y] = y[0]
    # p(x|.) stands on the layers that sample q, so all it needs is their noise.
    logits = get_output(model.p_x, known, statistics=RunningStatistics(), classes="given")  # (B, D)
    draws = [terms.latents[v.name].z for v in model.variables]
    return engine.function([x, *y, *eps], [*draws, T.nnet.sigmoid(logits)], "z ~ q(z|x), p(x|.)")


@once
def classes(trained: Trained, engine: Engine) -> Function:
    """z2 -> p(y|z2): (B, z2) -> (B, K)."""
    z2 = T.matrix("z2")
    logits = trained.model.class_logits(z2, RunningStatistics())
    return engine.function([z2], [T.exp(densities.log_softmax(logits))], "p(y|z2)")


@once
def decoder(trained: Trained, engine: Engine) -> Function:
    """One-hot y if there is one, all noise -> mean of p(x|.), each variable drawn given those above it: (B, D)."""
    model = trained.model
    y = [T.matrix("y")] if model.q_y is not None else []
    eps = [T.matrix(f"eps_{v.name}") for v in model.variables]
    logits = model.generate(eps, RunningStatistics(), *y)
    return engine.function([*y, *eps], [T.nnet.sigmoid(logits)], "p(x|.)")


def in_blocks(function: Function, *arrays: NDArray) -> Arrays:
    """Call ``function`` on blocks of rows of one size, the last one filled up: XLA compiles for every size anew."""
    count = len(arrays[0])
    rows = min(ROWS, max(count, 1))
    parts = []
    for start in range(0, max(count, 1), rows):
        block = [array[start : start + rows] for array in arrays]
        missing = rows - len(block[0])
        results = function(*(np.concatenate([b, np.zeros((missing, *b.shape[1:]), b.dtype)]) for b in block))
        parts.append([result[: rows - missing] for result in results])
    return [np.concatenate(column).astype(np.float32, copy=False) for column in zip(*parts, strict=True)]
