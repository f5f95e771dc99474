"""One configuration of a grid of runs, timed: its training step, and its evaluation as ``cagem evaluate`` does it.

Images are random, for a time depends on shapes alone, and so no data set is needed.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks import rounds
from parmesan_cagem import checkpoint, config

IMAGES = 2000  # a step gathers its batch from so many
PIXELS = 784


class Configuration:
    """A model, its training step and its evaluation, timed.

    Parameters
    ----------
    settings : dict
        Of an experiment, preset ``preset``'s otherwise.
    preset : str
    """

    def __init__(self, settings: dict[str, Any], preset: str) -> None:
        self._born = time.perf_counter()
        from parmesan_cagem import engines, models

        self.e = config.experiment(preset, **settings)
        self._engine = engines.get(self.e.engine, precision=self.e.precision)
        self._model = models.build(self.e, PIXELS)
        rng = np.random.default_rng(0)
        images = rng.random((IMAGES, PIXELS)) < 0.2
        self._binary = images.astype(np.uint8)
        # As data/ gives them: MNIST's pixels are bytes, OMNIGLOT's are probabilities.
        self._images = self._binary * np.uint8(255) if self.e.dataset == "mnist" else images.astype(np.float32)

    def build(self) -> dict[str, Any]:
        """Compile the training step; its FLOP, roughly its time, and the seconds from the process's start to here."""
        from parmesan_cagem import training_step
        from parmesan_cagem.batches import epoch_inputs
        from parmesan_cagem.presets import CLASSES

        e, labels = self.e, np.arange(self.e.labels) % CLASSES[self.e.dataset]
        labelled = self._images[: e.labels] if e.labels else None
        weights = e.label_weights(IMAGES, max(e.labels, 1))
        step = training_step.build(self._model, e, self._images, labelled, weights, labels)
        self._run = self._engine.steps(step.inputs, list(step.outputs.values()), list(step.updates.items()), "step")
        self._inputs = [np.asarray(sequence) for sequence in epoch_inputs(e, 0, IMAGES, e.labels)]
        flop = flop_of(lambda: self._block(1))
        self._state = step.state
        return {"flop": flop, "ready_seconds": time.perf_counter() - self._born, "seconds": self._block(2)}

    def save_seconds(self) -> float:
        """Of the checkpoint that ends an epoch, into the folder for temporary files; the second of two."""
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(2):
                clock = time.perf_counter()
                self._run.pull()
                checkpoint.save(Path(folder), {name: v.get_value(borrow=True) for name, v in self._state.items()}, {})
        return time.perf_counter() - clock

    def _block(self, steps: int) -> float:
        inputs = [sequence[:steps] for sequence in self._inputs]
        clock = time.perf_counter()
        self._run(*inputs)
        return (time.perf_counter() - clock) / len(inputs[0])

    def steps(self, steps: int, blocks: int) -> dict[str, Any]:
        """Median seconds of a step over ``blocks`` blocks."""
        return _spread([self._block(steps) for _ in range(blocks)])

    def bounds(self, calls: int, blocks: int) -> dict[str, Any]:
        """Median seconds of a row of F_k over ``blocks`` blocks of images, of ``calls`` calls each."""
        from parmesan_cagem.bounds import importance_bounds

        rows = max(1, self._engine.rows_per_call // self._model.classes)
        draws = max(1, min(50, rows))
        return self._rows(
            importance_bounds, {"iw_samples": draws * calls}, max(1, rows // draws), draws * calls, blocks
        )

    def classes(self, calls: int, blocks: int) -> dict[str, Any]:
        """Median seconds of a row of the classes, likewise; an image has as many draws as the evaluation gives it."""
        from parmesan_cagem.classification import classify

        draws = self.e.class_draws
        rows = max(1, self._engine.rows_per_call // self._model.classes)
        return self._rows(classify, {}, max(1, rows // draws), draws, blocks * calls)

    def _rows(
        self, evaluate: Callable[..., Any], changes: dict[str, Any], images: int, draws: int, blocks: int
    ) -> dict[str, Any]:
        """Seconds of a row from what the evaluation itself notes of every block of images; the first one compiles."""
        from parmesan_cagem.ledger import Ledger, Table

        settings, clocks = dataclasses.replace(self.e, **changes), []
        count = images * (blocks + 1)
        binary, places = self._binary[np.arange(count) % IMAGES], np.arange(count)
        put = Table.put

        def note(table: Table, where: Any, values: Any, seconds: float) -> None:
            clocks.append(seconds / (len(where) * draws))
            put(table, where, values, seconds)

        with mock.patch.object(Table, "put", note):
            flop = flop_of(lambda: evaluate(self._model, settings, self._engine, binary, places, ledger=Ledger()))
        rows = min(images * draws, max(1, self._engine.rows_per_call // self._model.classes))
        return {**_spread(clocks[1:]), "flop": flop // rows, "rows": images * draws}


def flop_of(trace: Callable[[], Any]) -> int:
    """Of the matrix products that engine xla traces during a call: 2 r i o for (r, i) x (i, o)."""
    from parmesan_cagem.engines.xla import products

    total, dot = 0, products.dot_general

    def counted(x: Any, y: Any, dimensions: Any, dtype: str) -> Any:
        nonlocal total
        (inner, _), (batch, _) = dimensions
        shared = [x.shape[axis] for axis in (*inner, *batch)]
        total += 2 * int(np.prod(x.shape)) * int(np.prod(y.shape)) // int(np.prod(shared))
        return dot(x, y, dimensions, dtype)

    with mock.patch.object(products, "dot_general", counted):
        trace()
    return total


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    median, least, most = rounds.spread(seconds)
    return {"seconds": median, "least": least, "most": most}
