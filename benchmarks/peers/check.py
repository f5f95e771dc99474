"""Equality first: every contestant takes the same steps as engine c before anybody looks at a clock.

The weights, the batches and all noise are the same for all; three steps of Adam are taken. Compared are all outputs of
each step, every parameter's gradient (a tenth of it is Adam's first moment after one step), every parameter after one
step and after three, and the running averages of batch norm after three.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestants import make_step
from benchmarks.problem import Arrays, Problem

STEPS = 3
# Relative errors in float32, by kind and step. Matrix products sum in another order everywhere: the first step shows
# it. The later ones are looser, because Adam begins with the sign of each entry's gradient: where that gradient is
# rounding noise, weights move apart. Besides, 1 - 0.999^t in float32 (Theano, XLA) is off by 1.3e-5 of itself at t = 1;
# torch takes it in double precision.
TOLERANCES = {
    "outputs/1": 1e-4,
    "gradients/1": 1e-4,
    "running averages/1": 1e-5,
    "movements/1": 5e-3,
    "outputs/2": 5e-4,
    "outputs/3": 1e-3,
    "running averages/3": 1e-3,
    "movements/3": 3e-2,
}


def trajectory(contestant: Any, problem: Problem, noise: Arrays) -> Arrays:
    """Take the steps; returns everything that is compared, by name ``<kind>/<step>/<name>``."""
    inputs, found = problem.inputs(STEPS), {}
    for step in range(1, STEPS + 1):
        outputs = contestant.run_given(noise, *(values[step - 1] for values in inputs))
        found |= {f"outputs/{step}/{name}": np.asarray(value) for name, value in outputs.items()}
        if step not in (1, STEPS):
            continue
        values = contestant.values()
        for name, before in problem.weights.items():
            after = values[f"weights/{name}"]
            if name not in problem.trainable:
                found[f"running averages/{step}/{name}"] = after
                continue
            found[f"movements/{step}/{name}"] = after - before
            if step == 1:
                found[f"gradients/{step}/{name}"] = values[f"adam/m/{name}"]
    return found


def errors(reference: Arrays, found: Arrays) -> dict[str, float]:
    """Relative error of each compared array: outputs against at least 1 nat, the others in the Euclidean norm."""
    if reference.keys() != found.keys():
        raise ValueError(f"not the same quantities: {sorted(reference.keys() ^ found.keys())[:5]}")
    result = {}
    for name, expected in reference.items():
        expected = np.asarray(expected, dtype=np.float64)
        scale = np.linalg.norm(expected)
        difference = np.linalg.norm(np.asarray(found[name], dtype=np.float64) - expected)
        result[name] = float(difference / max(scale, 1.0 if name.startswith("outputs") else 1e-30))
    return result


def worst(found: dict[str, float]) -> dict[str, tuple[float, str]]:
    """Kind and step -> the largest error of that kind and whose it is; NaN counts as the largest."""
    result = {}
    for kind in TOLERANCES:
        of_kind = [(np.inf if np.isnan(e) else e, name) for name, e in found.items() if name.startswith(f"{kind}/")]
        result[kind] = max(of_kind)
    return result


def failures(found: dict[str, float], kinds: Container[str] = tuple(TOLERANCES)) -> list[str]:
    """What of those kinds is out of tolerance, in words; empty when the contestant does the same mathematics."""
    return [
        f"{name}: relative error {error:.2g}, more than {TOLERANCES[kind]:g}"
        for kind, (error, name) in worst(found).items()
        if kind in kinds and not error <= TOLERANCES[kind]
    ]


class Trajectory:
    """A contestant by name, made for the check: a process of its own holds it."""

    def __init__(self, name: str, path: str, draw: int = 0) -> None:
        self._problem = Problem.load(Path(path))
        self._noise = self._problem.fixed_noise(draw)
        self._contestant = make_step(name, path, self._noise)

    def take(self) -> Arrays:
        return trajectory(self._contestant, self._problem, self._noise)
