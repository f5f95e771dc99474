"""What tests of views share: how their random draws are made, and how near a view must be."""

import numpy as np


def close(given, expected):
    np.testing.assert_allclose(given, expected, rtol=0, atol=2e-6)


def invert(probabilities, uniform):
    """Classes by inverting cumulative sums, one image at a time."""
    return np.array(
        [
            next(c for c in range(len(p)) if u * p.sum() < p[: c + 1].sum())
            for p, u in zip(probabilities.astype(np.float64), uniform, strict=True)
        ]
    )


def normal(draws, *shape):
    return draws.standard_normal(shape, dtype=np.float32).astype(np.float64)
