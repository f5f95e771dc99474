"""Log-densities in nats, as Theano expressions: all that the models need."""

from __future__ import annotations

import math

import theano.tensor as T
from theano.gradient import disconnected_grad
from theano.tensor.var import TensorVariable

# A Python float takes the dtype of the graph; a NumPy one, like np.log(2 * np.pi), would make all of it float64.
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def log_normal(x: TensorVariable, mu: TensorVariable, log_sigma: TensorVariable) -> TensorVariable:
    """``sum_d log N(x_d; mu_d, exp(log_sigma_d)^2)`` over the last axis.

    Parameters
    ----------
    x, mu, log_sigma : TensorVariable
        Shape (..., D). ``log_sigma`` is the logarithm of the standard deviation (paper section 5).

    Returns
    -------
    TensorVariable
        Shape (...), nats.
    """
    return T.sum(-HALF_LOG_2PI - log_sigma - 0.5 * T.sqr((x - mu) * T.exp(-log_sigma)), axis=-1)


def log_standard_normal(x: TensorVariable) -> TensorVariable:
    """``sum_d log N(x_d; 0, 1)`` over the last axis: (..., D) -> (...)."""
    return T.sum(-HALF_LOG_2PI - 0.5 * T.sqr(x), axis=-1)


def log_bernoulli(x: TensorVariable, logits: TensorVariable) -> TensorVariable:
    """``sum_d log Bernoulli(x_d; sigmoid(logits_d)) = sum_d x_d logits_d - softplus(logits_d)`` over the last axis.

    From logits, so that no probability is ever rounded to 0 or 1.
    """
    return T.sum(x * logits - T.nnet.softplus(logits), axis=-1)


def log_softmax(logits: TensorVariable) -> TensorVariable:
    """Log-probabilities of a categorical: (..., K) -> (..., K).

    The maximum is a constant shift: ``disconnected_grad`` keeps Theano from differentiating through it for nothing.
    """
    shifted = logits - disconnected_grad(T.max(logits, axis=-1, keepdims=True))
    return shifted - T.log(T.sum(T.exp(shifted), axis=-1, keepdims=True))


def log_sum_exp(x: TensorVariable, axis: int) -> TensorVariable:
    """``log sum exp(x)`` along ``axis``."""
    peak = disconnected_grad(T.max(x, axis=axis, keepdims=True))
    return T.log(T.sum(T.exp(x - peak), axis=axis)) + T.sum(peak, axis=axis)


def log_mean_exp(x: TensorVariable, axis: int) -> TensorVariable:
    """``log mean exp(x)`` along ``axis``."""
    return log_sum_exp(x, axis) - T.log(T.cast(x.shape[axis], x.dtype))


def kl_normal(
    mu: TensorVariable, log_sigma: TensorVariable, mu_0: TensorVariable, log_sigma_0: TensorVariable
) -> TensorVariable:
    """``KL[N(mu, sigma^2) || N(mu_0, sigma_0^2)]`` summed over the last axis: (..., D) -> (...), nats."""
    ratio = T.exp(2 * (log_sigma - log_sigma_0))
    return 0.5 * T.sum(ratio + T.sqr((mu - mu_0) * T.exp(-log_sigma_0)) - 1 - 2 * (log_sigma - log_sigma_0), axis=-1)


def cross_entropy(log_probabilities: TensorVariable, y: TensorVariable) -> TensorVariable:
    """``H = - log p(y_l|x_l)`` of every labelled image: (B, K), integer (B,) -> (B,), nats."""
    one_hot = T.eq(T.arange(log_probabilities.shape[1]), y.dimshuffle(0, "x"))
    return -T.sum(T.switch(one_hot, log_probabilities, 0), axis=1)
