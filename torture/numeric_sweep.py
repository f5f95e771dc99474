"""Every fault of ``numeric_faults`` in a small run of real digits: what the package must have done about each.

Survived is a fault after which all of this holds: training stopped with a :class:`NumericalError` of one line; its
``failure.json`` is JSON and names the epoch, the step and its batch, every term and norm; the checkpoint and the log
are as they were; and the run goes on from there to the same bits as one that met no fault.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import batches, checkpoint, engines, finite, training
from parmesan_cagem.config import Experiment, experiment
from parmesan_cagem.data import Dataset, load
from parmesan_cagem.partition import partition
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.signals import Signals
from torture.figures import Figures
from torture.numeric_faults import OUTPUTS, PLACES, VALUES, Switches

SMALL = {"wide": 8, "narrow": 6, "z1_dim": 3, "z2_dim": 2, "batch_size": 5, "labelled_batch_size": 7}
IMAGES, STEPS = 900, 164  # of an epoch: more than the 128 that one call of engine xla's program takes
DATA = ("pixel", "labelled pixel")
NEVER = frozenset(("epochs", "checkpoint_every"))


def digits() -> Dataset:
    """900 images of MNIST as probabilities: bytes could hold no NaN."""
    mnist = load("mnist", None)
    some = np.random.default_rng(0).permutation(60000)[:IMAGES]
    pictures = mnist.train_images[some], mnist.test_images[:10]
    train, test = ((images / np.float32(255)).astype("float32") for images in pictures)
    labels = mnist.train_labels[some], mnist.test_labels[:10]
    return Dataset("mnist", 10, train, labels[0], test, labels[1], source="digits", sha256="0" * 64)


class Sweep:
    """A small run with switches, one epoch of it done.

    Parameters
    ----------
    engine : engines.Engine
    folder : Path
        For runs.
    rng : numpy.random.Generator
    steps : int
        Of an epoch.
    """

    def __init__(self, engine: engines.Engine, folder: Path, rng: np.random.Generator, steps: int = STEPS) -> None:
        from parmesan_cagem import models

        images = steps * SMALL["batch_size"]
        self.e: Experiment = experiment("smoke", labels=20, epochs=2, train_images=images, pixel_scale=1.0, **SMALL)
        self.folder, self.rng, self.switches, data = folder, rng, Switches(rng), digits()
        self.parts = partition(data, self.e)
        place = RunFolder.create(folder / "compiled", self.e.to_dict())
        with Signals() as signals, place, self.switches.installed():
            model = models.build(self.e, 784)
            self._trainer = training.Trainer(self.e, data, self.parts, model, engine, place, signals, quiet=True)
        assert self._trainer.steps_per_epoch == steps
        self._images = self._shared_images()
        self._train("begun", epochs=1)
        self._train("whole", begin="begun")
        self.whole = self._kept("whole")

    def strike(self, place: str, value: float, step: int, block: int, stopped: bool) -> str | None:
        """Inject one fault in the second epoch.

        Parameters
        ----------
        place, value, step
            Where, what, and at which of the epoch's steps (a pixel: in the batch of that step).
        block : int
            Steps of the first block; blocks double.
        stopped : bool
            SIGTERM waits in the block that has the fault.

        Returns
        -------
        str or None
            What does not hold.
        """
        shutil.rmtree(self.folder / "run", ignore_errors=True)
        shutil.copytree(self.folder / "begun", self.folder / "run")
        before, error = self._kept("run"), None
        spoil, step = self._spoiling(place, value, step)
        with spoil:
            try:
                self._train("run", begin="", block=block, signal_at=step if stopped else None)
            except finite.NumericalError as caught:
                error = caught
            except BaseException as caught:
                return f"{type(caught).__name__} in place of a NumericalError: {caught}"
        return (
            self._told(place, step, error)
            or (None if self._kept("run") == before else "checkpoint or log changed")
            or self._goes_on()
        )

    def _told(self, place: str, step: int, error: Exception | None) -> str | None:
        path = self.folder / "run" / "failure.json"
        if error is None:
            return "training went on"
        line = str(error)
        told = json.loads(path.read_text(), parse_constant=lambda word: f"no JSON: {word}")
        sequences = batches.epoch_inputs(self.e, 1, len(self.parts.unlabelled), len(self.parts.labelled))
        reported = told["step"]
        batch, labelled = self.parts.unlabelled[sequences[0]], self.parts.labelled[sequences[1][reported]]
        words = f"epoch 2, step {reported}: not finite: "
        # A weight shows itself in the next step's terms, a moment moves a weight first; some never show themselves.
        since = told.get("since_step", step + {"weights": 1, "adam": 2}.get(place.split("/")[0], 0))
        exact = since <= step <= reported if "state" in told else reported == since
        checks = {
            "the message": "\n" not in line and words in line and str(path) in line and "intact" in line,
            "the epoch": told["epoch"] == 2,
            f"the step ({reported}, struck {step})": exact,
            "the batch": told["batch"] == batch[reported].tolist() and told["labelled_batch"] == labelled.tolist(),
            "terms and norms": set(told["outputs"]) == set(self._trainer.step.outputs),
            "what is not finite": self._named(place, told),
            "the block's batches": "state" not in told or told["batches"] == batch[since : reported + 1].tolist(),
        }
        wrong = [what for what, holds in checks.items() if not holds]
        return f"not as told: {', '.join(wrong)} ({line})" if wrong else None

    def _named(self, place: str, told: dict[str, Any]) -> bool:
        bad = [name for name, value in told["outputs"].items() if not np.isfinite(np.asarray(value, float)).all()]
        if "state" in told:  # nothing but the state would have told
            return place in told["state"] and told["state"][place]["not_finite"] >= 1 and not bad
        return bool(bad) and (place not in OUTPUTS or OUTPUTS[place] in bad)

    def _goes_on(self) -> str | None:
        self._train("run", begin="")
        return None if self._kept("run") == self.whole else "resumed, it is not the run that met no fault"

    def _train(
        self, name: str, begin: str | None = None, epochs: int = 2, block: int = 10, signal_at: int | None = None
    ) -> None:
        """Train ``name`` as a new process would, from a copy of ``begin`` or from what is there (empty)."""
        path = self.folder / name
        if begin:
            shutil.copytree(self.folder / begin, path)
        trainer = copy.copy(self._trainer)
        trainer.e, trainer._block = dataclasses.replace(self.e, epochs=epochs), block
        settings = trainer.e.to_dict()
        opened = RunFolder.create(path, settings) if begin is None else RunFolder.open(path, settings, NEVER)
        with Signals() as trainer.signals, opened as trainer.folder:
            trainer.position = training.Position()
            if begin is not None:
                trainer.restore()
            if signal_at is not None:
                trainer._run_block = _Signalled(trainer._run_block, signal_at)
            trainer.run()

    def _kept(self, name: str) -> tuple[Any, ...]:
        """What a fault must not change: every array of the checkpoint, and the log without its times."""
        saved = checkpoint.load(self.folder / name)
        lines = [json.loads(line) for line in (self.folder / name / "log.jsonl").read_text().splitlines()]
        log = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
        return {key: array.tobytes() for key, array in saved.arrays.items()}, log, saved.attributes["epoch"]

    def _shared_images(self) -> dict[str, Any]:
        from theano.graph.basic import graph_inputs

        inputs = graph_inputs(self._trainer.step.outputs.values())
        named = {variable.name: variable for variable in inputs if variable.name}
        return {"pixel": named["images/binarise"], "labelled pixel": named["images/binarise_labelled"]}

    def _spoiling(self, place: str, value: float, step: int) -> tuple[contextlib.AbstractContextManager[None], int]:
        """What injects the fault, and the step that meets it first."""
        if place not in DATA:
            return self._armed(place, value, step), step
        sequences = batches.epoch_inputs(self.e, 1, len(self.parts.unlabelled), len(self.parts.labelled))
        rows = sequences[DATA.index(place)]
        image = rows[step][0]
        return self._pixel(place, value, int(image)), int(np.flatnonzero((rows == image).any(axis=1))[0])

    @contextlib.contextmanager
    def _armed(self, place: str, value: float, step: int) -> Iterator[None]:
        self.switches.arm(place, value, step)
        try:
            yield
        finally:
            self.switches.disarm()

    @contextlib.contextmanager
    def _pixel(self, place: str, value: float, image: int) -> Iterator[None]:
        variable = self._images[place]
        sound = variable.get_value()
        spoilt = sound.copy()
        spoilt[image, self.rng.integers(spoilt.shape[1])] = value
        variable.set_value(spoilt)
        try:
            yield
        finally:
            variable.set_value(sound)


class _Signalled:
    """Sends SIGTERM to this process before the block that has a certain step of the epoch."""

    def __init__(self, run_block: Any, step: int) -> None:
        self._run_block, self._left = run_block, step
        self.prepare, self.pull = run_block.prepare, run_block.pull

    def __call__(self, *sequences: np.ndarray) -> Any:
        if 0 <= self._left < len(sequences[0]):
            os.kill(os.getpid(), signal.SIGTERM)
        self._left -= len(sequences[0])
        return self._run_block(*sequences)


def sweep(figures: Figures, name: str, folder: Path, seed: int) -> None:
    """Every place with every value, at random steps, block lengths and signals."""
    rng = np.random.default_rng(seed)
    runs = Sweep(engines.get(name), folder, rng)
    figures.say(f"engine {name}: compiled, one epoch done")
    choose: Callable[[], int] = lambda: int(rng.choice([0, STEPS - 1, 127, 128, rng.integers(STEPS)]))  # noqa: E731
    for place in (*DATA, *PLACES):
        for word, value in VALUES.items():
            step, block, stopped = choose(), int(rng.choice([1, 10, STEPS])), bool(rng.integers(2))
            wrong = runs.strike(place, value, step, block, stopped)
            how = f"engine {name}, {word} in {place} at step {step}, blocks from {block}{', SIGTERM' * stopped}"
            if wrong:
                figures.lose(f"{how}: {wrong}")
            else:
                figures.survive()
    figures.say(f"engine {name}: {figures.injected} faults so far")
