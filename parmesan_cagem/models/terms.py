"""What one pass through a model gives: the log-densities of one sample, from which every bound is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from theano.tensor.var import TensorVariable


@dataclass(frozen=True)
class Latent:
    """One stochastic variable of a sample: its log-densities in nats, (B,), or (B, K) where they differ with the class.

    Attributes
    ----------
    log_p : TensorVariable
        Under the generative model, given the variables above it.
    log_q : TensorVariable
        Under the inference model, given x and the variables drawn before it. A variable whose ``log_q`` has no class
        axis is drawn before y and stands outside the sum over y.
    mu, log_sigma : TensorVariable or None
        Of the posterior, (B, D) or (B, K, D); None for y.
    z : TensorVariable or None
        The sample, shaped like ``mu``; None for y.
    kl : TensorVariable or None
        ``KL[q || p]`` in closed form, shaped like ``log_q``, where its parents in p are not drawn after it.
    """

    log_p: TensorVariable
    log_q: TensorVariable
    mu: TensorVariable | None = None
    log_sigma: TensorVariable | None = None
    z: TensorVariable | None = None
    kl: TensorVariable | None = None


@dataclass(frozen=True)
class Terms:
    """Log-densities of one sample of every variable.

    Attributes
    ----------
    p_x : TensorVariable
        log p(x|...), (B,), or (B, K) for every class.
    latents : mapping
        Name -> :class:`Latent`, in the order of ``Model.variables``; ``y`` is the class that is summed over.
    classifiers : mapping
        ``q`` -> log q(y|x) and, where the generative model has one, ``p`` -> log p(y|x), (B, K) each, of this sample.
        Without gradient routing: for evaluation.
    """

    p_x: TensorVariable
    latents: Mapping[str, Latent]
    classifiers: Mapping[str, TensorVariable]
