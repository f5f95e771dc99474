"""The epoch loop: blocks of steps, guards, log, checkpoints, exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parmesan_cagem import checkpoint, files, provenance, schedules, training_step
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.data.binarize import binarize
from parmesan_cagem.engines import Engine
from parmesan_cagem.errors import UserError
from parmesan_cagem.models.cagem import CaGeM
from parmesan_cagem.monitor import compile_monitor
from parmesan_cagem.partition import Partition
from parmesan_cagem.progress import Progress
from parmesan_cagem.randomness import Purpose, generator
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.signals import Signals, Stopped

BLOCK = 10  # steps between two looks at signals, NaNs and the progress bar
Log = Callable[[dict[str, Any]], None]


class NumericalError(FloatingPointError):
    """NaN or Inf in the bound or a gradient: training cannot go on; the last checkpoint is intact."""


@dataclass
class Position:
    """Where training stands: completed epochs, steps done in the present one, sums of its outputs, seconds so far."""

    epoch: int = 0
    step: int = 0
    sums: NDArray[np.float64] | None = None
    seconds: float = 0.0


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
        model: CaGeM,
        engine: Engine,
        folder: RunFolder,
        signals: Signals,
        quiet: bool = False,
    ) -> None:
        e = self.e = experiment
        self.dataset, self.partition, self.model = dataset, partition, model
        self.folder, self.signals, self.quiet = folder, signals, quiet
        self.position = Position()
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
        self._run_block = engine.steps(
            self.step.inputs, list(self.step.outputs.values()), self.step.updates.items(), "train"
        )
        watched = [indices for indices in (labelled, partition.heldout) if len(indices)]
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
            The checkpoint is damaged, of another run, or of other data.
        """
        if not checkpoint.exists(self.folder.path):
            self.folder.truncate_log(0)
            return ()
        saved = checkpoint.load(self.folder.path)
        facts = saved.attributes
        for key, now in self._identity().items():
            if facts.get(key) != now:
                raise UserError(f"--resume: {saved.path} was made with another {key}; use another --name for a new run")
        for name, variable in self.step.state.items():
            variable.set_value(saved.arrays[name])
        self.position = Position(facts["epoch"], facts["step"], saved.arrays["log/sums"], facts["seconds"])
        self.folder.truncate_log(facts["log_size"])
        return saved.warnings

    def save(self) -> None:
        """Write a checkpoint of exactly this moment: whoever restores it continues bit for bit."""
        arrays = {name: variable.get_value(borrow=True) for name, variable in self.step.state.items()}
        arrays["log/sums"] = self._sums()
        arrays["labels/indices"] = self.partition.labelled
        p = self.position
        now = {"epoch": p.epoch, "step": p.step, "seconds": p.seconds, "log_size": self.folder.log_size()}
        checkpoint.save(self.folder.path, arrays, {**self._identity(), **now, "config": self.e.to_dict()})

    def run(self) -> None:
        """Train up to ``experiment.epochs``.

        Raises
        ------
        Stopped
            On SIGINT or SIGTERM, after saving.
        NumericalError
            NaN or Inf; the terms and norms are in ``failure.json`` of the run folder.
        """
        self._log_versions()
        total = self.e.epochs * self.steps_per_epoch
        done = self.position.epoch * self.steps_per_epoch + self.position.step
        with self.signals.deferred(), Progress(total, "steps", "training", self.quiet, done) as progress:
            while self.position.epoch < self.e.epochs:
                try:
                    self._epoch(progress)
                except Stopped:
                    self.save()
                    raise
            self.signals.check()

    def _epoch(self, progress: Progress) -> None:
        p, started = self.position, time.monotonic()
        before = p.seconds
        for inputs in self._blocks():
            values = self._run_block(*inputs)
            self._guard(inputs, values)
            for per_step in np.concatenate([v.reshape(len(v), -1) for v in values], axis=1, dtype=np.float64):
                p.sums = self._sums() + per_step
            p.step += len(inputs[0])
            p.seconds = before + time.monotonic() - started
            progress.advance(len(inputs[0]), f"epoch {p.epoch + 1}  F {self._mean('F'):.2f}")
            self.signals.check()
        entry = self._entry(p.seconds - before)
        self.position = Position(p.epoch + 1, 0, None, p.seconds)
        self.folder.append_log(entry)
        progress.say(_summary(entry))
        if self.position.epoch % self.e.checkpoint_every == 0 or self.position.epoch == self.e.epochs:
            self.save()

    def _blocks(self) -> Iterator[list[np.ndarray]]:
        """The inputs of the epoch's remaining blocks of steps: functions of (seed, epoch, step) alone.

        An incomplete last batch is left out; every epoch has another order, so no image is left out for good.
        """
        e, p, n_l = self.e, self.position, len(self.partition.labelled)
        order = generator(e.seed, Purpose.BATCHES, p.epoch).permutation(len(self.partition.unlabelled))
        batches = order[: self.steps_per_epoch * e.batch_size].reshape(self.steps_per_epoch, -1).astype(np.int32)
        sequences = [batches]
        if n_l:
            draws = generator(e.seed, Purpose.LABELLED_BATCHES, p.epoch)
            size = min(e.labelled_batch_size, n_l)
            chosen = [draws.permutation(n_l)[:size] for _ in range(self.steps_per_epoch)]
            sequences.append(np.asarray(chosen, dtype=np.int32))
        first = p.epoch * self.steps_per_epoch
        steps = range(first, first + self.steps_per_epoch)
        temperatures = [schedules.temperature(s, self.steps_per_epoch, e.warmup_epochs) for s in steps]
        sequences.append(np.asarray(temperatures, dtype=np.float32))
        sequences.append(np.full(self.steps_per_epoch, self._rate(), dtype=np.float32))
        for start in range(p.step, self.steps_per_epoch, BLOCK):
            yield [sequence[start : start + BLOCK] for sequence in sequences]

    def _rate(self) -> float:
        e = self.e
        return schedules.learning_rate(
            self.position.epoch, e.learning_rate, e.learning_rate_decay, e.decay_epochs, e.learning_rate_floor
        )

    def _guard(self, inputs: list[np.ndarray], values: list[np.ndarray]) -> None:
        bad = ~np.all([np.isfinite(v.reshape(len(v), -1)).all(axis=1) for v in values], axis=0)
        if not bad.any():
            return
        i = int(np.flatnonzero(bad)[0])
        step = self.position.step + i
        report = {
            "epoch": self.position.epoch + 1,
            "step": step,
            "batch": self.partition.unlabelled[inputs[0][i]].tolist(),
            "outputs": {n: np.char.mod("%g", v[i]).tolist() for n, v in zip(self.step.outputs, values, strict=True)},
        }
        path = self.folder.path / "failure.json"
        files.write_json(path, report)
        names = [n for n, v in zip(self.step.outputs, values, strict=True) if not np.isfinite(v[i]).all()]
        raise NumericalError(
            f"epoch {self.position.epoch + 1}, step {step}: not finite: {', '.join(names)}; terms, norms and batch are "
            f"in {path}; the last checkpoint is intact"
        )

    def _entry(self, seconds: float) -> dict[str, Any]:
        """One line of the log: means over the epoch's steps, and the monitor's values after it."""
        e, p = self.e, self.position
        last = (p.epoch + 1) * self.steps_per_epoch
        entry: dict[str, Any] = {
            "epoch": p.epoch + 1,
            "steps": last,
            "temperature": schedules.temperature(last - 1, self.steps_per_epoch, e.warmup_epochs),
            "learning_rate": self._rate(),
        }
        entry.update((name, self._mean(name)) for name in self.step.outputs)
        for name, (images, labels) in self._watched.items():
            assert self._monitor is not None
            values = self._monitor(images, labels, p.epoch)
            if not e.labels:  # clusters are not classes: no cross-entropy
                values = {k: v for k, v in values.items() if k not in ("H_q", "H_p")}
            entry[name] = values
        entry["seconds"] = seconds
        return entry

    def _log_versions(self) -> None:
        """A line of the log for the software that makes the lines after it; another one if a resumed run changed it."""
        now = provenance.versions()
        before = [line["versions"] for line in self.folder.read_log() if "versions" in line]
        if before[-1:] != [now]:
            self.folder.append_log({"versions": now})

    def _mean(self, name: str) -> Any:
        offset = 0
        for output, variable in self.step.outputs.items():
            size = self.e.clusters if variable.ndim else 1
            if output == name:
                mean = self._sums()[offset : offset + size] / max(self.position.step, 1)
                return mean.tolist() if variable.ndim else float(mean[0])
            offset += size
        raise KeyError(name)

    def _sums(self) -> NDArray[np.float64]:
        if self.position.sums is None:
            size = sum(self.e.clusters if v.ndim else 1 for v in self.step.outputs.values())
            self.position.sums = np.zeros(size)
        return self.position.sums

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint must share with the run that resumes from it."""
        return {
            "training_hash": self.e.training_hash(),
            "data_sha256": self.dataset.sha256,
            "labelled_sha256": self.partition.labelled_sha256,
        }


def _summary(entry: dict[str, Any]) -> str:
    words = [
        f"epoch {entry['epoch']}: F {entry['F']:.2f} nats (temperature {entry['temperature']:.2f})",
        f"KL z1 {entry['KL_z1']:.1f} z2 {entry['KL_z2']:.1f} y {entry['KL_y']:.2f}",
    ]
    if "H_q" in entry:
        words.append(f"H_q {entry['H_q']:.3f} H_p {entry['H_p']:.3f}")
    words.append(f"smallest cluster {min(entry['usage']):.1%}")
    return ", ".join([*words, f"{entry['seconds']:.0f} s"])
