"""Images from the generative model, a row for every class or of the prior alone."""

from __future__ import annotations

import numpy as np
import theano.tensor as T
from numpy.typing import NDArray

from parmesan_cagem import densities
from parmesan_cagem.engines import Engine
from parmesan_cagem.models.networks import Model
from parmesan_cagem.normalisation import RunningStatistics
from parmesan_cagem.randomness import Purpose, generator

CANDIDATES = 1000
ROWS_WITHOUT_CLASSES = 10


def samples(model: Model, engine: Engine, per_row: int, seed: int) -> NDArray[np.float32]:
    """Draw every variable given those above it; return the means of p(x|.), a row for every class y if there is one.

    With CaGeM ``z2 ~ p(z2|y)``, proportional to p(y|z2) p(z2): z2 is resampled from 1,000 draws of the prior with
    weights p(y|z2). (The paper only fixes y; a z2 of another cluster would then meet a y that p(z1|y,z2) has hardly
    been trained on.) The top variable of every other model is drawn from its prior.

    Returns
    -------
    (K, per_row, D) float32
        Pixel probabilities; (10, per_row, D) without y.
    """
    draws = generator(seed, Purpose.SAMPLES)
    *lower, top = model.variables
    rows = model.classes if model.q_y is not None else ROWS_WITHOUT_CLASSES
    z = T.matrix(top.name)
    logits = model.class_logits(z, RunningStatistics())
    if logits is None:
        highest = draws.standard_normal((rows * per_row, top.units), dtype=np.float32)
    else:
        clusters = engine.function([z], [T.exp(densities.log_softmax(logits))], f"p(y|{top.name})")
        candidates = draws.standard_normal((CANDIDATES, top.units), dtype=np.float32)
        weights = (
            np.asarray(clusters(candidates)[0], dtype=np.float64) + 1e-12
        )  # a cluster without any z still gets some
        chosen = [draws.choice(CANDIDATES, per_row, p=w / w.sum()) for w in weights.T]
        highest = candidates[np.concatenate(chosen)]
    noise = [draws.standard_normal((rows * per_row, v.units), dtype=np.float32) for v in reversed(lower)][::-1]
    eps, y = [T.matrix(f"eps_{v.name}") for v in model.variables], T.matrix("y")
    classes = [np.repeat(np.eye(rows, dtype=np.float32), per_row, axis=0)] if model.q_y is not None else []
    pixels = model.generate(eps, RunningStatistics(), y if classes else None)
    decode = engine.function([*([y] if classes else []), *eps], [T.nnet.sigmoid(pixels)], "p(x|.)")
    return decode(*classes, *noise, highest)[0].reshape(rows, per_row, model.x_dim)
