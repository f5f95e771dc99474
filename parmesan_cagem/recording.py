"""From a trained model to its record: evaluate, and write record.json and samples.png into the run's folder."""

from __future__ import annotations

import datetime
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parmesan_cagem import evaluation, files, image_bounds, provenance, records
from parmesan_cagem.config import Experiment
from parmesan_cagem.data import Dataset
from parmesan_cagem.engines import Engine
from parmesan_cagem.errors import UserError
from parmesan_cagem.image_bounds import ImageBounds
from parmesan_cagem.ledger import LEDGER, Ledger
from parmesan_cagem.partition import Partition
from parmesan_cagem.report.figures import save_grid
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.sampling import samples
from parmesan_cagem.trained import Trained

SAMPLES, FORMER = "samples.png", "record.former-{}.json"
FEW_DRAWS = 100  # Burda's criterion needs at least so many for a posterior mean


@dataclass(frozen=True, eq=False)
class Work:
    """An evaluation to be done.

    Attributes
    ----------
    trained : Trained
    e : Experiment
        As ``trained.experiment``, but for what may change: the run's length and its evaluation.
    data : Dataset
    parts : Partition
    engine : Engine
    quiet : bool
    """

    trained: Trained
    e: Experiment
    data: Dataset
    parts: Partition
    engine: Engine
    quiet: bool

    def identity(self, git: dict[str, Any]) -> dict[str, Any]:
        """What its results follow from, besides the protocol: others are not these. A device may change on the way."""
        source = {"engine": self.engine.name, "precision": self.engine.precision, "git": git}
        return {"weights": self.trained.sha256, "data": self.data.sha256, "split": self.e.eval_split, **source}


def finish(folder: RunFolder, work: Work, ledger: Ledger | None = None) -> dict[str, Any]:
    """Evaluate, write the record, the bounds image by image, and the samples.

    Killed, it goes on where it stood when it is called again: finished images are in ``evaluation.h5``.

    Parameters
    ----------
    folder : RunFolder
    work : Work
    ledger : Ledger, optional
        Holds the results already, and stands in for the run's own.

    Returns
    -------
    dict
        The record.

    Raises
    ------
    UserError
        The log does not say what trained the run; a file cannot be written.
    FloatingPointError
        A result is not finite.
    """
    trained, e, data, parts, engine = work.trained, work.e, work.data, work.parts, work.engine
    training = _provenance(folder)
    now = provenance.of(engine)
    with ledger or Ledger(folder.path / LEDGER, work.identity(now["git"]), now["device"]) as ledger:
        if ledger.warning:
            print(ledger.warning, file=sys.stderr)
        result = evaluation.evaluate(trained.model, e, data, parts, engine, work.quiet, ledger)
    fields = evaluation.record_fields(result, e, data)
    fields["eval"].update(
        now,
        device="; ".join(ledger.devices),
        precision=engine.precision,
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        peak_memory_bytes=ledger.peak_memory_bytes(),
    )
    record = {**training_fields(folder, trained, e, data, parts), **training, **fields}
    # The record last: where it is, the run counts as finished, and nobody would come back for the rest.
    save_grid(samples(trained.model, engine, 10, e.eval_seed), folder.path / SAMPLES)
    names = image_bounds.names(e.iw_samples)
    by_name = {name: [one.bounds[name] for one in result.bounds] for name in names}
    image_bounds.write(folder.path, result.seeds, ImageBounds(result.indices, by_name))
    _keep_former(folder, record)
    records.write(folder.record_path, record)
    return record


def training_fields(
    folder: RunFolder, trained: Trained, e: Experiment, data: Dataset, parts: Partition
) -> dict[str, Any]:
    """What a record says of the training that made these weights, where the log does not say it."""
    facts, n_u, n_l = trained.facts, len(parts.unlabelled), len(parts.labelled)
    w_q, w_p = e.label_weights(n_u, n_l) if n_l else (None, None)
    w_p = w_p if "p" in trained.model.classifiers else None
    return {
        "schema_version": records.SCHEMA_VERSION,
        "name": folder.path.name,
        "model": e.model,
        "dataset": {
            "name": data.name,
            "source": data.source,
            "verified": data.verified,
            "sha256": data.sha256,
            "pixel_scale": e.pixel_scale if data.train_images.dtype == np.uint8 else None,
            "train_images": len(data.train_images),
            "unlabelled": n_u,
            "labelled": n_l,
            "holdout": len(parts.heldout),
            "test_images": len(data.test_images),
        },
        "config": e.to_dict(),
        "config_hash": e.training_hash(),
        "seed": e.seed,
        "label_seed": e.label_seed if n_l else None,
        "label_indices_sha256": parts.labelled_sha256,
        "label_weight": {"q": w_q, "p": w_p, "given": e.label_weight, "given_p": e.label_weight_p},
        "started": facts["started"],
        "train_seconds": facts["seconds"],
        "peak_memory_bytes": facts["peak_memory_bytes"],
        "epochs": facts["epoch"],
        "steps": facts["epoch"] * (n_u // e.batch_size) + facts["step"],
        "warnings": _warnings(trained, e),
    }


def _warnings(trained: Trained, e: Experiment) -> list[str]:
    warnings = [*trained.warnings, *trained.facts["notes"]]
    if trained.facts["step"]:
        warnings.append(f"the weights are from the middle of epoch {trained.facts['epoch'] + 1}")
    if e.class_draws < FEW_DRAWS:
        warnings.append(f"active units come from {e.class_draws} draws; fewer than {FEW_DRAWS} count too many")
    return warnings


def _provenance(folder: RunFolder) -> dict[str, Any]:
    """What trained the run: the last of the log's lines that say so."""
    lines = [line for line in folder.read_log() if {"engine", "device", "versions", "git"} <= line.keys()]
    if not lines:
        raise UserError(f"{folder.log_path}: does not say what trained the run; go on with it for an epoch (--resume)")
    return lines[-1]


def _keep_former(folder: RunFolder, record: dict[str, Any]) -> None:
    """An evaluation by another protocol does not overwrite the former record: that gets another name, as it is."""
    if not folder.record_path.exists():
        return
    try:
        former = records.read(folder.record_path)
        if _protocol(former) == _protocol(record):
            return
        words = _words(former)
    except UserError as error:  # of an older schema, or damaged
        words = f"a record that cannot be read ({error})"
    former_bytes = _content(folder.record_path)
    names = (folder.path / FORMER.format(number) for number in itertools.count(1))
    # One of the same bytes: a process killed before it wrote the new record has kept this one already.
    kept = next(name for name in names if not name.exists() or _content(name) == former_bytes)
    if not kept.exists():
        files.write_atomically(kept, former_bytes)
    print(f"{folder.record_path}: {_words(record)} replaces {words}, now {kept.name}", file=sys.stderr)


def _content(path: Path) -> bytes:
    try:
        return files.read_bytes(path, files.JSON_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot read: {files.cause(error)}; make it readable, or move it away") from error


def _protocol(record: dict[str, Any]) -> list[Any]:
    named = (
        "k",
        "images",
        "indices_sha256",
        "estimator",
        "bn_mode",
        "seeds",
        "draws_for_errors",
        "engine",
        "precision",
    )
    return [record["steps"], records.images(record), *(record["eval"][name] for name in named)]


def _words(record: dict[str, Any]) -> str:
    e = record["eval"]
    draws = f"{e['draws_for_errors']} draw{'s' * (e['draws_for_errors'] > 1)}"
    return f"F_{e['k']} on {e['images']} images, {draws}, after {record['epochs']} epochs"


def print_results(record: dict[str, Any], folder: RunFolder) -> None:
    """The numbers of a record that a person asks for first."""
    k = record["eval"]["k"]
    bound = record["bounds"][f"F_{k}"]
    spread = "" if bound["standard_error"] is None else f" +- {bound['standard_error']:.2f}"
    kind = records.images(record)
    print(f"bound      F_{k} = {bound['mean']:.2f}{spread} nats, on {record['eval']['images']} {kind}")
    errors = [f"{name}(y|x) {record[f'error_{name}']:.2f} %" for name in "qp" if record[f"error_{name}"] is not None]
    if errors:
        name = "test error" if kind == "test images" else "error     "
        print(f"{name} {', '.join(errors)}, on {record['eval']['error_images']} images")
    elif record["clustering"]:
        agreement = record["clustering"]
        print(f"clusters   purity {agreement['purity']:.3f}, NMI {agreement['nmi']:.3f} with the classes")
    print(f"samples    {folder.path / SAMPLES}")
    print(f"record     {folder.record_path}")
