"""What every contestant is given: settings, initial weights, data, the inputs of each step; imports no framework.

One process builds it from the Theano model and writes it to a file, so that the others hold nothing but their own
framework and its memory.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem.config import Experiment

Arrays = dict[str, NDArray]
# A step's outputs in the order of parmesan_cagem.training_step; usage is (K,), the others are scalars.
OUTPUTS = (
    "objective",
    "F",
    "reconstruction",
    "KL_z1",
    "KL_z2",
    "KL_z2_sampled",
    "KL_y",
    "usage",
    "H_q",
    "H_p",
    "gradient_norm_y",
    "gradient_norm_rest",
)


@dataclass(frozen=True, eq=False)
class Problem:
    """A training step and its data.

    Attributes
    ----------
    experiment : Experiment
        One that the peers implement; see :func:`require_implemented`.
    weights : dict
        Name -> initial value, running averages included; names are the Theano model's.
    images, labelled : (N, D) and (N_l, D) uint8
        Pixels, binarised anew at every step.
    labels : (N_l,) int32
    label_weights : tuple of float
        (w_q, w_p).
    """

    experiment: Experiment
    weights: Arrays
    images: NDArray[np.uint8]
    labelled: NDArray[np.uint8]
    labels: NDArray[np.int32]
    label_weights: tuple[float, float]

    def save(self, path: Path) -> None:
        facts = json.dumps({"experiment": self.experiment.to_dict(), "label_weights": self.label_weights})
        weights = {f"weights/{name}": value for name, value in self.weights.items()}
        np.savez(path, facts=facts, images=self.images, labelled=self.labelled, labels=self.labels, **weights)

    @classmethod
    def load(cls, path: Path) -> Problem:
        with np.load(path) as saved:
            facts = json.loads(str(saved["facts"]))
            weights = {name.removeprefix("weights/"): saved[name] for name in saved if name.startswith("weights/")}
            return cls(
                Experiment.from_dict(facts["experiment"]),
                weights,
                saved["images"],
                saved["labelled"],
                saved["labels"],
                tuple(facts["label_weights"]),
            )

    @property
    def trainable(self) -> list[str]:
        """Names of the weights that Adam moves."""
        return [name for name in self.weights if not name.rpartition(".")[2].startswith("running_")]

    @property
    def labelled_size(self) -> int:
        """L: labelled images of one step."""
        return min(self.experiment.labelled_batch_size, len(self.labelled))

    def inputs(self, steps: int, seed: int = 0) -> list[NDArray]:
        """Inputs of a block of steps: batches (S, B) and (S, L) int32, temperatures and step sizes (S,) float32."""
        rng, e = np.random.default_rng([zlib.crc32(b"inputs"), seed]), self.experiment
        sizes = ((len(self.images), e.batch_size), (len(self.labelled), self.labelled_size))
        batches = [np.stack([rng.permutation(n)[:size] for _ in range(steps)]).astype("int32") for n, size in sizes]
        return [*batches, np.full(steps, 0.5, "float32"), np.full(steps, e.learning_rate, "float32")]

    def noise_shapes(self) -> dict[str, tuple[int, int]]:
        """Name of each random stream of a step -> shape of its draws: uniform ones to binarise, normal ones else."""
        e, pixels = self.experiment, self.images.shape[1]
        shapes = {}
        for suffix, rows in (("", e.batch_size), ("_labelled", self.labelled_size)):
            shapes[f"binarise{suffix}"] = (rows, pixels)
            shapes[f"eps_z1{suffix}"] = (rows, e.z1_dim)
            shapes[f"eps_z2{suffix}"] = (rows * e.clusters, e.z2_dim)
        return shapes

    def fixed_noise(self, draw: int = 0) -> Arrays:
        """The same draws for every contestant, float32: what the equality check puts in place of random streams."""
        return {name: fixed_draws(f"{name}{draw or ''}", shape) for name, shape in self.noise_shapes().items()}


def fixed_draws(name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Draws that the name alone determines."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    draws = rng.uniform(size=shape) if name.startswith("binarise") else rng.normal(size=shape)
    return draws.astype(np.float32)


def require_implemented(e: Experiment) -> None:
    """Refuse settings that the peers do not write out.

    Raises
    ------
    ValueError
    """
    fixed = {
        "routing": "paper",
        "labelled_bn": "unlabelled",
        "class_bn": "uniform",
        "train_iw": 1,
        "skip": True,
        "clip_norm": 0.0,
    }
    other = {name: getattr(e, name) for name, value in fixed.items() if getattr(e, name) != value}
    if other or not e.labels:
        raise ValueError(f"the peers do not implement {other or 'a step without labels'}")
