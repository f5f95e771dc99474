"""CaGeM's bound F, its importance-weighted versions, and the cross-entropies H_q, H_p with their gradient routing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import theano.tensor as T
from lasagne.layers import get_output
from theano.gradient import disconnected_grad
from theano.tensor.var import TensorVariable

from parmesan_cagem import densities
from parmesan_cagem.layers import split_pairs
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.normalisation import Statistics


@dataclass(frozen=True)
class LogTerms:
    """Log-densities of one sample of (z1, z2^1..z2^K), in nats; (B,) or, with the class axis, (B, K).

    With ``classes="given"`` the terms that carry a class have shape (B, 1): the class of each image.
    """

    p_x: TensorVariable  # (B, K) log p(x|y,z1)
    p_z1: TensorVariable  # (B, K) log p(z1|y,z2^y)
    p_y: TensorVariable  # (B, K) log p(y|z2^y)
    p_z2: TensorVariable  # (B, K) log p(z2^y)
    q_z1: TensorVariable  # (B,)   log q(z1|x)
    q_y: TensorVariable  # (B, K) log q(y|z1,x)
    q_z2: TensorVariable  # (B, K) log q(z2^y|x,y,z1)
    kl_z2: TensorVariable  # (B, K) KL[q(z2|x,y,z1) || N(0, I)], analytic
    mu_z1: TensorVariable  # (B, z1)
    mu_z2: TensorVariable  # (B, K, z2)
    p_y_all: TensorVariable  # (B, K, K) log p(y'|z2^y), y' last


def log_terms(
    model: CaGeM,
    x: TensorVariable,
    eps_z1: TensorVariable,
    eps_z2: TensorVariable,
    statistics: Statistics,
) -> LogTerms:
    """Run one pass through the model, summing over y, and evaluate every log-density of F.

    Parameters
    ----------
    x : TensorVariable
        Binary images, (B, D).
    eps_z1, eps_z2 : TensorVariable
        Standard normal noise, (B, z1) and (B*K, z2): an own sample of z2 for every class.
    statistics : Statistics
        What batch normalisation uses in this pass.
    """
    layers = [*model.heads, model.z1, model.z2]
    inputs = {model.x: x, model.eps_z1: eps_z1, model.eps_z2: eps_z2}
    outputs = get_output(layers, inputs, statistics=statistics)
    mu_1, log_sigma_1, y_logits, mu_2, log_sigma_2, py_logits, p_mu_1, p_log_sigma_1, x_logits, z1, z2 = outputs

    def pairs(rows: TensorVariable) -> TensorVariable:
        return split_pairs(rows, model.classes)

    p_y_all = pairs(densities.log_softmax(py_logits))  # (B, K, K)
    own_class = T.eye(model.classes, dtype=p_y_all.dtype).dimshuffle("x", 0, 1)  # (1, K, K)
    zero = T.zeros_like(mu_2)
    return LogTerms(
        p_x=densities.log_bernoulli(x.dimshuffle(0, "x", 1), pairs(x_logits)),
        p_z1=densities.log_normal(z1.dimshuffle(0, "x", 1), pairs(p_mu_1), pairs(p_log_sigma_1)),
        p_y=T.sum(p_y_all * own_class, axis=2),
        p_z2=pairs(densities.log_standard_normal(z2)),
        q_z1=densities.log_normal(z1, mu_1, log_sigma_1),
        q_y=densities.log_softmax(y_logits),
        q_z2=pairs(densities.log_normal(z2, mu_2, log_sigma_2)),
        kl_z2=pairs(densities.kl_normal(mu_2, log_sigma_2, zero, zero)),
        mu_z1=mu_1,
        mu_z2=pairs(mu_2),
        p_y_all=p_y_all,
    )


def bound(terms: LogTerms, temperature: Any = 1.0) -> TensorVariable:
    """The bound F of every image (paper section 3.1), with temperature on the KL-like terms.

    ``F(x) = sum_y q(y|z1,x) [log p(x|y,z1) + T (log p(z1|y,z2^y) + log p(y|z2^y) + log p(z2^y)
    - log q(z2^y|x,y,z1) - log q(y|z1,x))] - T log q(z1|x)``

    Returns
    -------
    TensorVariable
        (B,), nats.
    """
    latent = terms.p_z1 + terms.p_y + terms.p_z2 - terms.q_z2 - terms.q_y  # (B, K)
    return T.sum(T.exp(terms.q_y) * (terms.p_x + temperature * latent), axis=1) - temperature * terms.q_z1


def log_weight(terms: LogTerms, temperature: Any = 1.0) -> TensorVariable:
    """Logarithm of the marginal importance weight of one sample of (z1, z2^1..z2^K).

    ``w = sum_y q(y|z1,x) exp[log p(x|y,z1) + T (...)] / q(z1|x)^T``; at T = 1 this is
    ``sum_y p(x,y,z1,z2^y) / (q(z1|x) q(z2^y|x,y,z1))``, whose expectation is p(x).

    Returns
    -------
    TensorVariable
        (B,), nats. The log-mean-exp over k independent samples is the bound F_k.
    """
    latent = terms.p_z1 + terms.p_y + terms.p_z2 - terms.q_z2 - terms.q_y  # (B, K)
    return densities.log_sum_exp(terms.q_y + terms.p_x + temperature * latent, axis=1) - temperature * terms.q_z1


def decomposition(terms: LogTerms) -> dict[str, TensorVariable]:
    """Reconstruction and KL terms of F at T = 1, (B,) each, in nats, averaged over y by q(y|z1,x).

    ``F = reconstruction - KL_z1 - KL_y - KL_z2_sampled``. KL_z2 is the same term with its expectation over z2 taken
    analytically; KL_z1 and KL_y depend on the sampled z2^y inside p(z1|y,z2^y) and p(y|z2^y) and have no analytic form.
    """
    q_y = T.exp(terms.q_y)  # (B, K)
    return {
        "reconstruction": T.sum(q_y * terms.p_x, axis=1),
        "KL_z1": terms.q_z1 - T.sum(q_y * terms.p_z1, axis=1),
        "KL_z2": T.sum(q_y * terms.kl_z2, axis=1),
        "KL_z2_sampled": T.sum(q_y * (terms.q_z2 - terms.p_z2), axis=1),
        "KL_y": T.sum(q_y * (terms.q_y - terms.p_y), axis=1),
    }


def sampled_log_weight(
    model: CaGeM,
    x: TensorVariable,
    eps_z1: TensorVariable,
    eps_z2: TensorVariable,
    uniform: TensorVariable,
    statistics: Statistics,
) -> TensorVariable:
    """Log importance weight of one sample of (z1, y, z2): ``p(x,y,z1,z2) / (q(z1|x) q(y|z1,x) q(z2|x,y,z1))``.

    Parameters
    ----------
    eps_z1, eps_z2 : TensorVariable
        (B, z1) and (B, z2): one z2 an image.
    uniform : TensorVariable
        (B,) in (0, 1): chooses y ~ q(y|z1,x) by inverting its cumulative sum.

    Returns
    -------
    TensorVariable
        (B,), nats. Its mean estimates F without summing over y; about a fifth of the marginal's cost at K = 10.
    """
    inputs = {model.x: x, model.eps_z1: eps_z1}
    mu_1, log_sigma_1, z1, y_logits = get_output([*model.q_z1, model.z1, model.q_y], inputs, statistics=statistics)
    log_q_y = densities.log_softmax(y_logits)  # (B, K)
    cumulative = T.cumsum(T.exp(log_q_y), axis=1)  # (B, K); ends a rounding error from 1
    threshold = uniform * cumulative[:, -1]  # so that no rounding chooses a class that q excludes
    chosen = T.sum(T.lt(cumulative, threshold.dimshuffle(0, "x")), axis=1)  # (B,), below K
    y = T.eq(T.arange(model.classes).dimshuffle("x", 0), chosen.dimshuffle(0, "x"))
    y = T.cast(y, x.dtype)  # (B, K) one-hot
    known = {**inputs, model.z1: z1, model.q_y: y_logits, model.y: y, model.eps_z2: eps_z2}
    layers = [*model.q_z2, model.z2, model.p_y, *model.p_z1, model.p_x]
    mu_2, log_sigma_2, z2, py_logits, p_mu_1, p_log_sigma_1, x_logits = get_output(
        layers, known, statistics=statistics, classes="given"
    )
    log_p = (
        densities.log_bernoulli(x, x_logits)
        + densities.log_normal(z1, p_mu_1, p_log_sigma_1)
        + T.sum(y * densities.log_softmax(py_logits), axis=1)
        + densities.log_standard_normal(z2)
    )
    log_q = (
        densities.log_normal(z1, mu_1, log_sigma_1)
        + T.sum(y * log_q_y, axis=1)
        + densities.log_normal(z2, mu_2, log_sigma_2)
    )
    return log_p - log_q


def class_log_probabilities(
    model: CaGeM,
    x: TensorVariable,
    eps_z1: TensorVariable,
    eps_z2: TensorVariable,
    statistics: Statistics,
    routing: str = "paper",
) -> tuple[TensorVariable, TensorVariable]:
    """The two classifiers, with one sample of z1 and of every z2^c (paper section 4).

    ``q(y|x) = E[q(y|z1,x)]`` and ``p(y|x) = E[sum_c q(c|z1,x) p(y|z2^c)]``

    The paper: "we consider the cross-entropies only a function of theta_y and phi_y". So the gradient stops at z1 where
    it enters q(y|z1,x), and at every z2^c where it enters p(y|z2); the weights q(c|z1,x) stay connected to phi_y.

    Parameters
    ----------
    routing : {"paper", "full"}
        ``full`` leaves out both stops: the ablation of the paper's claim that the rest would overfit the labels.

    Returns
    -------
    log_q, log_p : TensorVariable
        (B, K) each.
    """
    stop: Callable[[TensorVariable], TensorVariable] = disconnected_grad if routing == "paper" else (lambda z: z)
    images = {model.x: x, model.eps_z1: eps_z1, model.eps_z2: eps_z2}
    z1 = get_output(model.z1, images, statistics=statistics)  # (B, z1)
    y_logits = get_output(model.q_y, {**images, model.z1: stop(z1)}, statistics=statistics)  # (B, K)
    known = {**images, model.z1: z1, model.q_y: y_logits}
    z2 = get_output(model.z2, known, statistics=statistics)  # (B*K, z2)
    py_logits = get_output(model.p_y, {**known, model.z2: stop(z2)}, statistics=statistics)  # (B*K, K)
    log_q = densities.log_softmax(y_logits)
    log_p_each = split_pairs(densities.log_softmax(py_logits), model.classes)  # (B, K, K)
    log_p = densities.log_sum_exp(log_q.dimshuffle(0, 1, "x") + log_p_each, axis=1)
    return log_q, log_p


def class_log_probabilities_of(terms: LogTerms) -> tuple[TensorVariable, TensorVariable]:
    """The two classifiers of a pass whose gradient nobody takes: ``log q(y|x), log p(y|x)``, (B, K) each."""
    return terms.q_y, densities.log_sum_exp(terms.q_y.dimshuffle(0, 1, "x") + terms.p_y_all, axis=1)


def cross_entropy(log_probabilities: TensorVariable, y: TensorVariable) -> TensorVariable:
    """``H = - log p(y_l|x_l)`` of every labelled image: (B, K), integer (B,) -> (B,), nats."""
    one_hot = T.eq(T.arange(log_probabilities.shape[1]).dimshuffle("x", 0), y.dimshuffle(0, "x"))
    return -T.sum(T.switch(one_hot, log_probabilities, 0), axis=1)
