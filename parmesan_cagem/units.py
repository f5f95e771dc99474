"""What the top variable carries: its divergence from the prior given what was drawn before it, and given x alone.

The paper compares KL[q(z2|.) || p(z2)] of CaGeM (17 nats) with an LVAE's (9 nats). These are different quantities. An
LVAE's q(z2|x) depends on x alone; CaGeM's q(z2|x,y,z1), and a VAE's q(z2|z1), follow a sampled z1, so that
``E_q(z1,y|x) KL[q(z2|x,y,z1) || p(z2)] = KL[q(z2|x) || p(z2)] + I(z2; z1, y | x)``: it also counts what z2 knows of
z1's noise. The marginal ``q(z2|x) = E_q(z1,y|x) q(z2|x,y,z1)`` makes models comparable. Its density is estimated by a
mixture over S draws of z1, which brackets the divergence: without the component that z2 was drawn from, the estimate is
a lower bound (Jensen's inequality); with it, an upper one, which cannot lie more than log S (and the entropy of y)
below the usual KL, whatever the truth. A bracket that is wide, or still moves as S grows, says only what it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import theano.tensor as T
from numpy.typing import NDArray
from scipy.special import logsumexp

from parmesan_cagem.bounds import noise_widths, split_noise
from parmesan_cagem.config import Experiment
from parmesan_cagem.densities import HALF_LOG_2PI
from parmesan_cagem.engines import Arrays, Engine
from parmesan_cagem.models.networks import Model
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.progress import Progress
from parmesan_cagem.randomness import Purpose, choose, noise


@dataclass(frozen=True, eq=False)
class TopDivergence:
    """Divergences of the top variable from N(0, I), (N,) each, nats.

    Attributes
    ----------
    conditional : (N,) float64
        E KL[q(z|x, what was drawn before) || p(z)], the expectation over y and the rest: the usual KL_zL.
    lower, upper : (N,) float64
        Estimates of bounds on KL[q(z|x) || p(z)]; the lower one is cut at 0.
    """

    conditional: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def top_divergence(
    model: Model,
    e: Experiment,
    engine: Engine,
    images: NDArray[np.uint8],
    indices: NDArray[np.int64],
    draws: int = 500,
    quiet: bool = True,
) -> TopDivergence:
    """Estimate the divergences of the model's last variable (z2 of CaGeM and of L = 2), under the running averages.

    Parameters
    ----------
    images : (N, D) uint8
        Binary.
    indices : (N,) int64
        Their places in the test set; they choose each image's noise.
    draws : int
        Draws of what comes before, at least 2: components of the mixture (times K), and samples of z.

    Raises
    ------
    FloatingPointError
        A result is NaN or Inf; names the image.
    """
    encode = _encoder(model, engine)
    width, units = sum(noise_widths(model)), model.variables[-1].units
    table = np.empty((len(images), 3))
    with Progress(len(images), "images", "divergences of the top variable", quiet) as progress:
        for row, index in enumerate(indices):
            stream = noise(e.eval_seed, Purpose.UNITS, int(index))
            eps = stream.standard_normal((draws, width), dtype=np.float32)
            q_y, mu, log_sigma = encode(np.repeat(images[row : row + 1].astype(np.float32), draws, axis=0), eps)
            table[row] = divergences(
                q_y.astype(np.float64),
                mu.astype(np.float64),
                log_sigma.astype(np.float64),
                stream.random(draws),
                stream.standard_normal((draws, units)),
            )
            if not np.isfinite(table[row]).all():
                raise FloatingPointError(f"units: the divergences of test image {index} are not finite")
            progress.advance(1)
    return TopDivergence(*table.T)


def divergences(
    q_y: NDArray[np.float64],
    mu: NDArray[np.float64],
    log_sigma: NDArray[np.float64],
    uniform: NDArray[np.float64],
    eps: NDArray[np.float64],
) -> tuple[float, float, float]:
    """``conditional, lower, upper`` of one image (:class:`TopDivergence`), from S draws of what comes before z.

    Parameters
    ----------
    q_y : (S, K)
        q(y|.) of each draw; ones, (S, 1), without y.
    mu, log_sigma : (S, K, D)
        Of q(z|.) for every draw and class.
    uniform, eps : (S,), (S, D)
        In [0, 1) and standard normal: one class and one z for every draw.
    """
    count, classes, units = mu.shape
    kl = 0.5 * np.sum(np.exp(2 * log_sigma) + mu**2 - 1 - 2 * log_sigma, axis=2)  # (S, K)
    y = choose(q_y, uniform)  # (S,)
    every = np.arange(count)
    z = mu[every, y] + np.exp(log_sigma[every, y]) * eps  # (S, D)
    precision, shape = np.exp(-2 * log_sigma).reshape(-1, units), (count, count, classes)
    means = mu.reshape(-1, units)
    squares = z**2 @ precision.T - 2 * z @ (means * precision).T + (means**2 * precision).sum(axis=1)  # (S, S * K)
    with np.errstate(divide="ignore"):  # a class that q excludes
        log_q_y = np.log(q_y)
    # (S of z, S, K)
    each = -0.5 * squares.reshape(shape) - log_sigma.sum(axis=2) - units * HALF_LOG_2PI + log_q_y
    components = logsumexp(each, axis=2)  # (S, S): log sum_y q(y|s) q(z|s,y), the draw s last
    log_p = -0.5 * (z**2).sum(axis=1) - units * HALF_LOG_2PI  # (S,)
    upper = logsumexp(components, axis=1) - np.log(count) - log_p
    others = np.where(np.eye(count, dtype=bool), -np.inf, components)
    lower = logsumexp(others, axis=1) - np.log(count - 1) - log_p
    return float((q_y * kl).sum(axis=1).mean()), max(float(lower.mean()), 0.0), float(upper.mean())


def _encoder(model: Model, engine: Engine) -> Callable[..., Arrays]:
    """Images and noise of S rows -> q(y|.), (S, K) or (S, 1), and mu, log sigma of the top variable, (S, K, D)."""
    x, eps = T.matrix("x"), [T.matrix(f"eps_{v.name}") for v in model.variables]
    terms = model.terms(x, eps, RunningStatistics())
    top = terms.latents[model.variables[-1].name]
    assert top.mu is not None  # noqa: S101  for the type checker: the top is Gaussian
    assert top.log_sigma is not None  # noqa: S101  for the type checker: likewise
    q_y = T.exp(terms.latents["y"].log_q) if "y" in terms.latents else T.ones_like(x[:, :1])
    outputs = [q_y, *(v if v.ndim == 3 else v.dimshuffle(0, "x", 1) for v in (top.mu, top.log_sigma))]
    function = engine.function([x, *eps], outputs, "q of the top variable")
    return lambda images, drawn: function(images, *split_noise(model, drawn))
