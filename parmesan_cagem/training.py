"""The epoch loop: blocks of steps, guards, log, checkpoints, exact resume."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem import checkpoint, epoch_log, finite, provenance, schedules, training_step
from parmesan_cagem.batches import epoch_inputs, step_size
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.engines import Engine
from parmesan_cagem.errors import UserError
from parmesan_cagem.finite import NumericalError
from parmesan_cagem.guard import Guard
from parmesan_cagem.models.networks import Model
from parmesan_cagem.monitor import compile_monitor
from parmesan_cagem.partition import Partition, lineage
from parmesan_cagem.progress import Progress
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.signals import Signals, Stopped

BLOCK = 10  # steps between two looks at signals, NaNs and the progress bar; more where they are quick
BLOCK_SECONDS = 1.0  # what a block should take at most
POSITION = ("epoch", "step", "seconds", "epoch_seconds", "started", "peak_memory_bytes")  # a checkpoint's plain values


@dataclass
class Position:
    """Where training stands, over all the processes that a run may take.

    Attributes
    ----------
    epoch, step : int
        Completed epochs, and steps done in the present one.
    sums : ndarray or None
        Sums of the step's outputs over the present epoch.
    seconds, epoch_seconds : float
        Wall time of training (monitor included, compiling and saving not), and of the present epoch.
    started : str
        ISO time at which the run began.
    peak_memory_bytes : int
        Largest resident memory of any of the processes.
    notes : tuple of str
        What the run's record must tell of its past, such as a checkpoint that was carried in rounded form.
    """

    epoch: int = 0
    step: int = 0
    sums: NDArray[np.float64] | None = None
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    started: str = ""
    peak_memory_bytes: int = 0
    notes: tuple[str, ...] = ()


class Trainer:
    """Trains a model in a run folder, from the start or from its checkpoint.

    Parameters
    ----------
    experiment, dataset, partition, model, engine
    folder : RunFolder
        Receives log.jsonl and the checkpoints.
    signals : Signals
        Asked after every block.
    quiet : bool
        No progress on the terminal.
    """

    def __init__(
        self,
        experiment: Experiment,
        dataset: Dataset,
        partition: Partition,
        model: Model,
        engine: Engine,
        folder: RunFolder,
        signals: Signals,
        quiet: bool = False,
    ) -> None:
        e = self.e = experiment
        self.dataset, self.partition, self.model = dataset, partition, model
        self.engine, self.folder, self.signals, self.quiet = engine, folder, signals, quiet
        self.position = Position(started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
        self.steps_per_epoch = len(partition.unlabelled) // e.batch_size
        images, labels = dataset.train_images, dataset.train_labels
        labelled = partition.labelled
        self.step = training_step.build(
            model,
            e,
            images[partition.unlabelled],
            images[labelled] if len(labelled) else None,
            e.label_weights(len(partition.unlabelled), max(len(labelled), 1)),
            labels[labelled],
        )
        self._sizes = {name: model.classes if v.ndim else 1 for name, v in self.step.outputs.items()}
        self._run_block = engine.steps(
            self.step.inputs, list(self.step.outputs.values()), self.step.updates.items(), "train"
        )
        watched = [indices for indices in (labelled, partition.heldout) if len(indices)]
        self._block = BLOCK
        self._run_block.prepare(*next(self._blocks()))
        self._monitor = compile_monitor(model, e, engine) if watched else None
        self._watched = {
            name: (binarize(images[i], e.pixel_scale, e.seed, i), labels[i])
            for name, i in (("labelled", labelled[:1000]), ("heldout", partition.heldout[:1000]))
            if len(i)
        }

    def restore(self) -> tuple[str, ...]:
        """Go on from the run folder's checkpoint; returns its warnings. A run stopped before its first one starts anew.

        Raises
        ------
        UserError
            The checkpoint is damaged, of another run, or of other data; or a finished run lacks it.
        NumericalError
            It holds NaN or Inf.
        """
        if not checkpoint.exists(self.folder.path):
            if self.folder.record_path.exists():  # a finished run, carried here without its weights
                raise UserError(
                    f"--resume: {self.folder.path} has a record and no checkpoint, and training anew would replace its "
                    f"log; give another --name, or bring checkpoint.h5"
                )
            self.folder.truncate_log(0)
            return ()
        saved = checkpoint.load(self.folder.path)
        facts = saved.attributes
        other_version = UserError(
            f"--resume: {saved.path} is of another version of parmesan_cagem; resume it with that version"
        )
        if not checkpoint.describes_run(facts):
            raise other_version
        shapes = {name: variable.get_value(borrow=True).shape for name, variable in self.step.state.items()}
        shapes["log/sums"] = (sum(self._sizes.values()),)
        if facts.get("without_moments"):
            if self.e.epochs > facts.get("epoch", 0):
                raise UserError(
                    f"--resume: {saved.path} came from the pack of a finished run, without Adam's moments: it can be "
                    f"evaluated again but not trained further; give --epochs {facts.get('epoch', 0)}"
                )
            shapes = {name: shape for name, shape in shapes.items() if not name.startswith(("adam/m/", "adam/v/"))}
        for key, now in lineage(self.e, self.dataset, self.partition).items():
            if facts.get(key) != now:
                raise UserError(f"--resume: {saved.path} was made with another {key}; use another --name for a new run")
        dtypes = {name: variable.dtype for name, variable in self.step.state.items()}
        if not all(
            name in saved.arrays
            and saved.arrays[name].shape == shape
            and saved.arrays[name].dtype == dtypes.get(name, np.float64)
            for name, shape in shapes.items()
        ):
            raise other_version
        if facts["epoch"] + (facts["step"] > 0) > self.e.epochs:
            done = f"{facts['epoch']} epochs and {facts['step']} steps"
            raise UserError(f"--epochs {self.e.epochs}: {saved.path} has {done} already; give at least as many epochs")
        if bad := finite.faults(saved.arrays):  # sealed and sound, but no state that this program saves
            raise NumericalError(
                f"--resume: {saved.path}: {finite.words(bad)}; put {checkpoint.PREVIOUS} in its place, or train again "
                f"under another --name"
            )
        for name, variable in self.step.state.items():
            if name in shapes:
                variable.set_value(saved.arrays[name])
        notes = tuple(facts.get("notes", ()))
        self.position = Position(sums=saved.arrays["log/sums"], notes=notes, **{name: facts[name] for name in POSITION})
        self.folder.truncate_log(facts["log_size"])
        return (*saved.warnings, *notes)

    def save(self) -> None:
        """Write a checkpoint of exactly this moment: whoever restores it continues bit for bit.

        Raises
        ------
        NumericalError
            The state is not finite: the checkpoint that is there is better.
        """
        arrays = self._state()
        if bad := finite.faults(arrays):
            self._guard.fail({"epoch": self.position.epoch + 1, "step": self.position.step, "state": bad}, bad)
        arrays["log/sums"] = self._sums()
        arrays["labels/indices"] = self.partition.labelled
        self.position.peak_memory_bytes = self.peak_memory_bytes()
        now = {**{name: getattr(self.position, name) for name in POSITION}, "log_size": self.folder.log_size()}
        now["notes"] = list(self.position.notes)
        facts = {**lineage(self.e, self.dataset, self.partition), **now, "config": self.e.to_dict()}
        checkpoint.save(self.folder.path, arrays, facts)

    def run(self) -> None:
        """Train up to ``experiment.epochs``.

        Raises
        ------
        Stopped
            On a signal, after saving.
        NumericalError
            NaN or Inf in a term, a norm or the state; ``failure.json`` of the run folder tells which.
        """
        self._log_provenance()
        total = self.e.epochs * self.steps_per_epoch
        done = self.position.epoch * self.steps_per_epoch + self.position.step
        with self.signals.deferred(), Progress(total, "steps", "training", self.quiet, done) as progress:
            while self.position.epoch < self.e.epochs:
                try:
                    self._epoch(progress)
                except Stopped:
                    self.save()
                    raise

    def _epoch(self, progress: Progress) -> None:
        p = self.position
        sound = p.step  # the state after so many steps was looked at
        for inputs in self._blocks():
            clock = time.monotonic()
            values = self._run_block(*inputs)
            self._guard.outputs(p.epoch, p.step, inputs, values)
            # Several devices keep short blocks: a copy of the state after each would cost more than they do.
            if self.e.devices == 1 or p.step + len(inputs[0]) == self.steps_per_epoch:
                self._guard.state(p.epoch, p.step, inputs, values, self._state(), sound)
                sound = p.step + len(inputs[0])
            for per_step in epoch_log.flat(values):
                p.sums = self._sums() + per_step
            p.step += len(inputs[0])
            self._count_seconds(clock)
            # Not with several devices: they may belong to processes, which must agree on the length.
            quick = time.monotonic() - clock < BLOCK_SECONDS / 2 and len(inputs[0]) == self._block
            if quick and self.e.devices == 1:
                self._block *= 2
            self.signals.check()  # first: a terminal may take its time
            progress.advance(len(inputs[0]), f"epoch {p.epoch + 1}  F {self._means()['F']:.2f}")
        clock = time.monotonic()
        self._run_block.pull()
        entry = self._entry()
        self._count_seconds(clock)
        entry["seconds"] = p.epoch_seconds
        self.position = dataclasses.replace(p, epoch=p.epoch + 1, step=0, sums=None, epoch_seconds=0.0)
        self.folder.append_log(entry)
        progress.say(epoch_log.summary(entry))
        if self.position.epoch % self.e.checkpoint_every == 0 or self.position.epoch == self.e.epochs:
            self.save()

    def peak_memory_bytes(self) -> int:
        """Largest resident memory of this process and of those before it."""
        return max(self.position.peak_memory_bytes, provenance.peak_memory_bytes())

    def _count_seconds(self, clock: float) -> None:
        elapsed = time.monotonic() - clock
        self.position.seconds += elapsed
        self.position.epoch_seconds += elapsed

    def _blocks(self) -> Iterator[list[np.ndarray]]:
        """The inputs of the epoch's remaining blocks of steps."""
        p, parts = self.position, self.partition
        sequences = epoch_inputs(self.e, p.epoch, len(parts.unlabelled), len(parts.labelled))
        start = p.step
        while start < self.steps_per_epoch:
            stop = start + self._block
            yield [sequence[start:stop] for sequence in sequences]
            start = stop

    @property
    def _guard(self) -> Guard:
        return Guard(self.folder.path, self.partition, list(self.step.outputs))

    def _state(self) -> dict[str, np.ndarray]:
        """All that a step changes, by name, as it is now."""
        self._run_block.pull()
        return {name: variable.get_value(borrow=True) for name, variable in self.step.state.items()}

    def _entry(self) -> dict[str, Any]:
        """One line of the log: means over the epoch's steps, and the monitor's values after it."""
        e, p = self.e, self.position
        last = (p.epoch + 1) * self.steps_per_epoch
        entry: dict[str, Any] = {
            "epoch": p.epoch + 1,
            "steps": last,
            "temperature": schedules.temperature(last - 1, self.steps_per_epoch, e.warmup_epochs),
            "learning_rate": step_size(e, p.epoch),
        }
        entry.update(self._means())
        for name, (images, labels) in self._watched.items():
            assert self._monitor is not None  # noqa: S101  for the type checker: compiled if anything is watched
            values = self._monitor(images, labels, p.epoch)
            if not e.labels:  # clusters are not classes: no cross-entropy
                values = {k: v for k, v in values.items() if k not in ("H_q", "H_p")}
            bad = [term for term, value in values.items() if not np.isfinite(value)]
            if bad:
                self._guard.fail({"epoch": p.epoch + 1, "images": name, "outputs": values}, bad)
            entry[name] = values
        return entry

    def _log_provenance(self) -> None:
        """A line of the log for what makes the lines after it; another one if a resumed run changed it."""
        now = provenance.of(self.engine)
        before = [line for line in self.folder.read_log() if "versions" in line]
        if before[-1:] != [now]:
            self.folder.append_log(now)

    def _means(self) -> dict[str, Any]:
        return epoch_log.means(self._sizes, self._sums(), self.position.step)

    def _sums(self) -> NDArray[np.float64]:
        if self.position.sums is None:
            self.position.sums = np.zeros(sum(self._sizes.values()))
        return self.position.sums
