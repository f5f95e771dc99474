"""One run from flags to record: parse, load, train, evaluate, write, print."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from parmesan_cagem import arguments, checkpoint, engines, exit_status, files, memory, provenance
from parmesan_cagem.arguments import Job
from parmesan_cagem.config import LATER, MAY_CHANGE, Experiment
from parmesan_cagem.data import Dataset, load
from parmesan_cagem.partition import Partition, evaluated, judged, lineage, partition
from parmesan_cagem.report.row import table_row
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.signals import Signals


def main(dataset: str, argv: Sequence[str] | None = None, prog: str = "run") -> int:
    """Run; returns the exit status (:func:`exit_status.of`)."""

    def job(signals: Signals) -> None:
        run(*arguments.parse(sys.argv[1:] if argv is None else argv, dataset, prog), signals)

    return exit_status.of(prog, job)


def run(e: Experiment, job: Job, signals: Signals) -> dict[str, Any] | None:
    """Train (or go on training), evaluate, write the record; returns it (None with ``train_only``).

    Raises
    ------
    UserError, Stopped, FloatingPointError
    """
    data = load(e.dataset, job.data_dir, job.unverified)
    parts = partition(data, e)
    data = judged(data, e, parts)
    evaluated(data, e)
    memory.check(e, data.train_images.shape[1])
    engines.check(e.engine)
    if job.require_gpu:
        engines.require_gpu(e.engine)
    if e.devices > 1:
        engines.get(e.engine, e.devices, e.precision)  # are there as many? Before anything is written
    settings = e.to_dict()
    if job.resume:
        opened = RunFolder.open(job.folder, settings, MAY_CHANGE, LATER)
    else:
        opened = RunFolder.create(job.folder, settings)
    with opened as folder:
        files.write_json(
            folder.path / "labels.json", {"indices": parts.labelled.tolist(), "sha256": parts.labelled_sha256}
        )
        if job.train_only and _is_trained(folder, e, data, parts):
            print(_evaluated_by(folder, e, job))
            return None
        # Theano takes seconds to import: not before the user's mistakes are found.
        from parmesan_cagem import models, recording, trained
        from parmesan_cagem.training import Trainer

        _say(job, f"{arguments.title(e.model, e.labels)} on {e.dataset}: {data.source}; {folder.path}")
        _say(job, "versions: " + ", ".join(f"{name} {version}" for name, version in provenance.versions().items()))
        engine = engines.get(e.engine, e.devices, e.precision)
        if not job.quiet:
            print(engines.where(engine), file=sys.stderr, flush=True)
        model = models.build(e, data.train_images.shape[1])
        duration = "a minute or two the first time" if e.engine == "c" else "about ten seconds"
        _say(job, f"compiling the training graph for engine {e.engine} ({duration})")
        trainer = Trainer(e, data, parts, model, engine, folder, signals, job.quiet)
        for warning in trainer.restore() if job.resume else ():
            print(warning, file=sys.stderr)
        trainer.run()
        if job.train_only:
            print(_evaluated_by(folder, e, job))
            return None
        work = recording.Work(trained.load(folder.path), e, data, parts, engine, job.quiet)
        record = recording.finish(folder, work)
    recording.print_results(record, folder)
    print(table_row(record))
    return record


def _is_trained(folder: RunFolder, e: Experiment, data: Dataset, parts: Partition) -> bool:
    """Whether nothing is left to train; what does not fit is the trainer's to refuse."""
    if not checkpoint.exists(folder.path):
        return False
    facts = checkpoint.load(folder.path).attributes
    known = {**lineage(e, data, parts), "epoch": e.epochs, "step": 0}
    return checkpoint.describes_run(facts) and all(facts.get(key, facts) == value for key, value in known.items())


def _evaluated_by(folder: RunFolder, e: Experiment, job: Job) -> str:
    """The command, with the settings that a checkpoint of before they were changed does not know."""
    trained = {**LATER, **checkpoint.load(folder.path).attributes["config"]}
    words = ["cagem", "evaluate", str(folder.path)]
    for field in dataclasses.fields(Experiment):
        if field.metadata["role"] == "evaluation" and trained.get(field.name) != getattr(e, field.name):
            words += ["--" + field.name.replace("_", "-"), str(getattr(e, field.name))]
    words += ["--data-dir", str(job.data_dir)] if job.data_dir else []
    words += ["--unverified-data"] * job.unverified + ["--require-gpu"] * job.require_gpu
    return f"trained    {e.epochs} epochs; evaluate with: {shlex.join(words)}"


def _say(job: Job, line: str) -> None:
    if not job.quiet:
        print(line, file=sys.stderr, flush=True)
