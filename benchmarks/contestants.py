"""Who competes: our engines, the hand-written peers, and plain matrix products as the machine's measure.

Every contestant is a class whose framework is imported when it is made: each lives in a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.problem import OUTPUTS, Arrays, Problem

ENGINES = ("c", "xla", "xla-bf16")
INEXACT = ("xla-bf16",)
PEERS = ("torch", "torch-compile", "jax")
NAMES = (*ENGINES, *PEERS)
SGEMM = ("numpy", "torch", "jax")


def absent(name: str) -> str | None:
    """Why a contestant cannot run here, in a line; None if it can."""
    if name.startswith("torch"):
        missing = importlib.util.find_spec("torch") is None
        return "PyTorch is no dependency of the package: pip install torch==2.13.0" if missing else None
    if name in ENGINES:
        from parmesan_cagem import engines
        from parmesan_cagem.errors import UserError

        try:
            engines.check(name.partition("-")[0])
        except (UserError, ValueError) as error:
            return str(error)
    return None


def present(names: Iterable[str], say: Callable[[str], None]) -> list[str]:
    """Those that can run here; ``say`` is told of the others."""
    found = []
    for name in names:
        if reason := absent(name):
            say(f"{name}: left out: {reason}")
        else:
            found.append(name)
    return found


def make_problem(path: str, data_dir: str | None, preset: str, changes: dict[str, Any]) -> None:
    """Build CaGeM and its data, and write what every contestant starts from."""
    from parmesan_cagem.config import experiment
    from parmesan_cagem.data import load
    from parmesan_cagem.models.cagem import CaGeM
    from parmesan_cagem.partition import partition

    e = experiment(preset, **changes)
    data = load(e.dataset, Path(data_dir) if data_dir else None)
    parts = partition(data, e)
    model = CaGeM(e, data.train_images.shape[1])
    Problem(
        e,
        {p.name: p.get_value() for p in model.params()},
        data.train_images[parts.unlabelled],
        data.train_images[parts.labelled],
        data.train_labels[parts.labelled].astype(np.int32),
        e.label_weights(len(parts.unlabelled), len(parts.labelled)),
    ).save(Path(path))


def make_step(name: str, path: str, noise: Arrays | None = None) -> Any:
    """A contestant of the training step; ``noise``: what ``run_given`` will be given."""
    problem = Problem.load(Path(path))
    if name in ENGINES:
        return EngineStep(problem, engine(name), noise)
    if name == "jax":
        from benchmarks.peers.jax_step import JaxStep

        return JaxStep(problem)
    from benchmarks.peers.torch_step import TorchStep

    return TorchStep(problem, name == "torch-compile", len(os.sched_getaffinity(0)))


def engine(name: str) -> Any:
    """``xla-bf16`` is engine xla with ``--precision bf16``."""
    from parmesan_cagem import engines

    which, _, precision = name.partition("-")
    return engines.get(which, precision=precision or "float32")


class EngineStep:
    """The package's own training step.

    Parameters
    ----------
    problem : Problem
    engine : parmesan_cagem.engines.Engine
    noise : dict or None
        In place of the random streams, at every step.
    """

    def __init__(self, problem: Problem, engine: Any, noise: Arrays | None = None) -> None:
        from parmesan_cagem import training_step
        from parmesan_cagem.models.cagem import CaGeM

        model = CaGeM(problem.experiment, problem.images.shape[1])
        for param in model.params():
            param.set_value(problem.weights[param.name])
        streams = training_step.NamedStreams if noise is None else lambda seed: _GivenStreams(noise)
        with mock.patch.object(training_step, "NamedStreams", streams):
            self.built = training_step.build(
                model, problem.experiment, problem.images, problem.labelled, problem.label_weights, problem.labels
            )
        outputs, updates = self.built.outputs, self.built.updates
        if tuple(outputs) != OUTPUTS:
            raise ValueError("the training step has other outputs than the peers")
        self._run = engine.steps(self.built.inputs, list(outputs.values()), list(updates.items()), "step")

    def run(self, *inputs: np.ndarray) -> Arrays:
        return dict(zip(OUTPUTS, self._run(*inputs), strict=True))

    def run_given(self, noise: Arrays, *inputs: np.ndarray) -> Arrays:
        values = self.run(*(np.asarray(value)[None] for value in inputs))
        return {name: value[0] for name, value in values.items()}

    def values(self) -> Arrays:
        self._run.pull()
        return {name: variable.get_value() for name, variable in self.built.state.items()}


class _GivenStreams:
    """In place of parmesan_cagem.randomness.NamedStreams: arrays by name, the same at every step."""

    def __init__(self, noise: Arrays) -> None:
        self.noise = noise
        self.states: OrderedDict[str, Any] = OrderedDict()

    def normal(self, name: str, shape: tuple[int, int]) -> Any:
        import theano

        return theano.shared(self.noise[name])

    uniform = normal

    def updates(self) -> tuple:
        return ()


class BoundCall:
    """The compiled function that F_k spends its time in, at the default number of rows a call."""

    def __init__(self, name: str, path: str) -> None:
        from parmesan_cagem import bounds
        from parmesan_cagem.models.cagem import CaGeM

        problem = Problem.load(Path(path))
        e, rng = problem.experiment, np.random.default_rng(0)
        model = CaGeM(e, problem.images.shape[1])
        chosen = engine(name)
        self.rows = max(1, chosen.rows_per_call // e.clusters)
        images = problem.images[rng.integers(0, len(problem.images), self.rows)] >= e.pixel_scale / 2
        self._images = images.astype(np.float32)
        self._eps = rng.standard_normal((self.rows, e.z1_dim + e.z2_dim * e.clusters), dtype=np.float32)
        self._call = bounds._compile_marginal(model, chosen)

    def values(self) -> list[np.ndarray]:
        """Every output of one call, (rows,) each."""
        return self._call(self._images, self._eps)

    def run(self, calls: int) -> int:
        """That many calls; returns the number of (image, sample) rows."""
        for _ in range(calls):
            self._call(self._images, self._eps)
        return calls * self.rows


class Sgemm:
    """A square float32 matrix product, (n, n) x (n, n): what the machine's cores can do at best."""

    def __init__(self, backend: str, n: int) -> None:
        ones = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
        self.n = n
        if backend == "torch":
            import torch

            torch.set_num_threads(len(os.sched_getaffinity(0)))
            a = torch.from_numpy(ones)
            self._product = lambda: a @ a
        elif backend == "jax":
            import jax

            b, product = jax.numpy.asarray(ones), jax.jit(jax.numpy.matmul)
            self._product = lambda: product(b, b).block_until_ready()
        else:
            self._product = lambda: ones @ ones

    def run(self, times: int) -> float:
        """Floating-point operations a second, the best of that many products."""
        seconds = []
        for _ in range(times):
            start = time.perf_counter()
            self._product()
            seconds.append(time.perf_counter() - start)
        return 2 * self.n**3 / min(seconds)
