"""Bounds from the terms of a pass, for every model: F, its importance-weighted version, its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import theano.tensor as T
from lasagne.layers import get_output
from theano.tensor.var import TensorVariable

from parmesan_cagem import densities
from parmesan_cagem.models.networks import Model
from parmesan_cagem.models.terms import Terms
from parmesan_cagem.normalisation import Statistics


def bound(terms: Terms, temperature: Any = 1.0, y_temperature: Any = None) -> TensorVariable:
    """The bound F of every image, with temperature T on the KL-like terms.

    With a class (paper section 3.1), where z stands for the variables that are drawn after it,
    ``F(x) = sum_y q(y|.) [log p(x|.) + T (sum log p - log q(y|.) - sum_z log q(z|.))] - T sum_before log q``;
    without one, ``F(x) = log p(x|.) + T (sum log p - sum log q)``.

    Parameters
    ----------
    y_temperature : optional
        Of the terms of y, ``log p(y|.) - log q(y|.)``, where theirs is not T: the paper does not say which terms it
        multiplies.

    Returns
    -------
    TensorVariable
        (B,), nats.
    """
    each, outside = _tempered(terms, temperature, y_temperature)
    return _over_y(terms, each) - outside


def log_weight(terms: Terms, temperature: Any = 1.0, y_temperature: Any = None) -> TensorVariable:
    """Logarithm of the marginal importance weight of one sample.

    ``w = sum_y q(y|.) exp[log p(x|.) + T (...)] / q(before y)^T``; for CaGeM at T = 1 this is
    ``sum_y p(x,y,z1,z2^y) / (q(z1|x) q(z2^y|x,y,z1))``. Its expectation is p(x).

    Parameters
    ----------
    y_temperature : optional
        As in :func:`bound`.

    Returns
    -------
    TensorVariable
        (B,), nats. The log-mean-exp over k independent samples is the bound F_k.
    """
    each, outside = _tempered(terms, temperature, y_temperature)
    if each.ndim == 1:  # nothing is drawn before a class that is not there
        return each
    return densities.log_sum_exp(terms.latents["y"].log_q + each, axis=1) - outside


def decomposition(terms: Terms) -> dict[str, TensorVariable]:
    """Reconstruction and KL terms of F at T = 1, (B,) each, in nats, averaged over y by q(y|.).

    ``F = reconstruction - sum_v KL_v``, with ``KL_v_sampled`` where there is one. ``KL_v`` has its expectation over v
    taken in closed form where that exists (CaGeM's z2; its KL_z1 and KL_y depend on the sampled z2^y inside
    p(z1|y,z2^y) and p(y|z2^y) and have none).
    """
    parts = {"reconstruction": _over_y(terms, terms.p_x)}
    for name in sorted(terms.latents, key=lambda name: name == "y"):  # y last
        v = terms.latents[name]
        drawn_before_y = v.log_q.ndim < terms.p_x.ndim
        difference = v.log_q - _over_y(terms, v.log_p) if drawn_before_y else _over_y(terms, v.log_q - v.log_p)
        if v.kl is not None:
            parts[f"KL_{name}"] = _over_y(terms, v.kl)
        parts[f"KL_{name}" if v.kl is None else f"KL_{name}_sampled"] = difference
    return parts


def term_names(model: Model) -> tuple[str, ...]:
    """The names in :func:`decomposition`, in its order."""
    names = ["reconstruction"]
    for v in model.variables:
        names += [f"KL_{v.name}", f"KL_{v.name}_sampled"] if v.analytic else [f"KL_{v.name}"]
    return (*names, *(("KL_y",) if model.q_y is not None else ()))


def posterior_mean(terms: Terms, name: str) -> TensorVariable:
    """Mean of a variable, averaged over y by q(y|.): (B, D)."""
    mu = terms.latents[name].mu
    assert mu is not None, name  # noqa: S101  for the type checker: a Gaussian's latent has a mean
    return mu if mu.ndim == 2 else T.sum(T.exp(terms.latents["y"].log_q).dimshuffle(0, 1, "x") * mu, axis=1)


def expected_log_p_y(terms: Terms) -> TensorVariable:
    """``sum_y q(y|.) log p(y|.)``, (B,), nats."""
    return _over_y(terms, terms.latents["y"].log_p)


def _over_y(terms: Terms, value: TensorVariable) -> TensorVariable:
    """The mean over y ~ q(y|.): (B, K) -> (B,); what has no class axis stays."""
    return T.sum(T.exp(terms.latents["y"].log_q) * value, axis=1) if value.ndim == 2 else value


def _tempered(terms: Terms, temperature: Any, y_temperature: Any) -> tuple[TensorVariable, Any]:
    """What is averaged over y, (B, K), and ``T sum log q`` of what is drawn before y, (B,); without a class (B,), 0."""
    inside, outside = _latent(terms)
    each = terms.p_x + temperature * inside
    if y_temperature is not None and "y" in terms.latents:
        y = terms.latents["y"]
        each = each + (y_temperature - temperature) * (y.log_p - y.log_q)
    return each, temperature * outside


def _latent(terms: Terms) -> tuple[Any, Any]:
    """``sum log p - sum log q`` inside the sum over y, (B, K); ``sum log q`` of what is drawn before y, (B,).

    Without a class axis everything is inside, and both are (B,).
    """
    inside, outside = 0, 0
    for v in terms.latents.values():
        inside = inside + v.log_p
    for v in reversed(list(terms.latents.values())):
        if v.log_q.ndim < terms.p_x.ndim:
            outside = outside + v.log_q
        else:
            inside = inside - v.log_q
    return inside, outside


def sampled_log_weight(
    model: Model,
    x: TensorVariable,
    noise: Sequence[TensorVariable],
    uniform: TensorVariable,
    statistics: Statistics,
) -> TensorVariable:
    """Log importance weight of one sample of every variable, y among them: ``log p(x, all) - log q(all|x)``.

    Parameters
    ----------
    noise : sequence of TensorVariable
        (B, units) each: one sample an image.
    uniform : TensorVariable
        (B,) in (0, 1): chooses y ~ q(y|.) by inverting its cumulative sum.

    Returns
    -------
    TensorVariable
        (B,), nats. Its mean estimates F without summing over y; about a fifth of the marginal's cost at K = 10.
    """
    inputs = {model.x: x, **{v.eps: eps for v, eps in zip(model.variables, noise, strict=True) if not v.per_class}}
    log_q_y = densities.log_softmax(get_output(model.q_y, inputs, statistics=statistics))  # (B, K)
    cumulative = T.cumsum(T.exp(log_q_y), axis=1)  # (B, K); ends a rounding error from 1
    threshold = uniform * cumulative[:, -1]  # so that no rounding chooses a class that q excludes
    chosen = T.sum(T.lt(cumulative, threshold.dimshuffle(0, "x")), axis=1)  # (B,), below K
    y = T.eq(T.arange(model.classes), chosen.dimshuffle(0, "x"))
    return log_weight(model.terms(x, noise, statistics, y=T.cast(y, x.dtype)))
