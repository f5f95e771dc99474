"""How well clusters and classes agree, from a table of counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy


def agreement(counts: NDArray[np.integer]) -> dict[str, float]:
    """Purity and normalised mutual information.

    ``purity = sum_k max_c n_ck / n`` and ``nmi = I(class; cluster) / ((H(class) + H(cluster)) / 2)``: 1 where clusters
    are classes, whatever their numbers; nmi is 0 where they are independent. With one class and one cluster both
    entropies are 0, and nmi is 1.

    Parameters
    ----------
    counts : (classes, K) int
        Images of every class (row) in every cluster (column).

    Returns
    -------
    dict
        ``purity`` and ``nmi``, fractions.
    """
    joint = counts / counts.sum()  # (classes, K)
    classes, clusters = float(entropy(joint.sum(axis=1))), float(entropy(joint.sum(axis=0)))
    information = classes + clusters - float(entropy(joint.ravel()))
    both = (classes + clusters) / 2
    # Rounding alone may leave the range.
    nmi = float(np.clip(information / both, 0, 1)) if both > 0 else 1.0
    return {"purity": float(joint.max(axis=0).sum()), "nmi": nmi}
