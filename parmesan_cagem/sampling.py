"""Images from the generative model, with the class given."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from lasagne.layers import get_output
from numpy.typing import NDArray

from parmesan_cagem import densities
from parmesan_cagem.config import Experiment
from parmesan_cagem.engines import Engine
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.randomness import Purpose, generator

CANDIDATES = 1000


def class_conditional(model: CaGeM, e: Experiment, engine: Engine, per_class: int, seed: int) -> NDArray[np.float32]:
    """Draw ``z2 ~ p(z2|y)``, ``z1 ~ p(z1|y,z2)`` and return the means of ``p(x|y,z1)``, for every class y.

    p(z2|y) is proportional to p(y|z2) p(z2): z2 is resampled from 1,000 draws of the prior with weights p(y|z2). (The
    paper only fixes y; a z2 of another cluster would then meet a y that p(z1|y,z2) has hardly been trained on.)

    Returns
    -------
    (K, per_class, D) float32
        Pixel probabilities.
    """
    draws = generator(seed, Purpose.SAMPLES)
    y, z2, eps = T.matrix("y"), T.matrix("z2"), T.matrix("eps_z1")
    running = {"statistics": RunningStatistics(), "classes": "given"}
    p_y = T.exp(densities.log_softmax(get_output(model.p_y, {model.z2: z2}, **running)))  # (N, K)
    known = {model.z2: z2, model.y: y}
    mu, log_sigma = get_output(list(model.p_z1), known, **running)  # (N, z1) each
    z1 = mu + T.exp(log_sigma) * eps
    x = T.nnet.sigmoid(get_output(model.p_x, {**known, model.z1: z1}, **running))  # (N, D)
    clusters = engine.function([z2], [p_y], "p(y|z2)")
    decode = engine.function([y, z2, eps], [x], "p(x|y,z1), z1 ~ p(z1|y,z2)")

    candidates = draws.standard_normal((CANDIDATES, e.z2_dim), dtype=np.float32)
    weights = np.asarray(clusters(candidates)[0], dtype=np.float64) + 1e-12  # a cluster without any z2 still gets some
    chosen = [draws.choice(CANDIDATES, per_class, p=w / w.sum()) for w in weights.T]
    classes = np.repeat(np.eye(e.clusters, dtype=np.float32), per_class, axis=0)
    noise = draws.standard_normal((len(classes), e.z1_dim), dtype=np.float32)
    images = decode(classes, candidates[np.concatenate(chosen)], noise)[0]
    return images.reshape(e.clusters, per_class, model.x_dim)
