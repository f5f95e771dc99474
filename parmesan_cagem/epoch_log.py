"""What an epoch leaves in the log: means of the step's outputs, by name, and the line that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def flat(values: list[np.ndarray]) -> NDArray[np.float64]:
    """Outputs of S steps, (S,) or (S, K) each, side by side: (S, all)."""
    return np.concatenate([value.reshape(len(value), -1) for value in values], axis=1, dtype=np.float64)


def means(sizes: Mapping[str, int], sums: NDArray[np.float64], steps: int) -> dict[str, float | list[float]]:
    """Means over steps, by name.

    Parameters
    ----------
    sizes : mapping
        Name -> numbers in that output; 1 is a scalar.
    sums : (all,) float64
        Sums over ``steps`` steps of the rows of :func:`flat`.
    """
    parts = np.split(sums / max(steps, 1), np.cumsum(list(sizes.values()))[:-1])
    return {
        name: part.tolist() if size > 1 else float(part[0])
        for (name, size), part in zip(sizes.items(), parts, strict=True)
    }


def summary(entry: Mapping[str, Any]) -> str:
    """One line of an epoch for the terminal."""
    kl = [name.removeprefix("KL_") for name in entry if name.startswith("KL_") and not name.endswith("_sampled")]
    words = [
        f"epoch {entry['epoch']}: F {entry['F']:.2f} nats (temperature {entry['temperature']:.2f})",
        "KL " + " ".join(f"{name} {entry[f'KL_{name}']:.{2 if name == 'y' else 1}f}" for name in kl),
    ]
    entropies = [f"{name} {entry[name]:.3f}" for name in ("H_q", "H_p") if name in entry]
    words += [" ".join(entropies)] if entropies else []
    words += [f"smallest cluster {min(entry['usage']):.1%}"] if "usage" in entry else []
    return ", ".join([*words, f"{entry['seconds']:.0f} s"])
