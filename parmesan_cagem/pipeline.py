"""One run from flags to record: parse, load, train, evaluate, write, print."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parmesan_cagem import arguments, engines, files, provenance, records
from parmesan_cagem.arguments import Job
from parmesan_cagem.config import MAY_CHANGE, Experiment
from parmesan_cagem.data import load
from parmesan_cagem.errors import UserError
from parmesan_cagem.partition import evaluated, partition
from parmesan_cagem.report.figures import save_grid
from parmesan_cagem.report.row import table_row
from parmesan_cagem.runfolder import RunFolder
from parmesan_cagem.signals import Signals, Stopped


def main(dataset: str, argv: Sequence[str] | None = None, prog: str = "run") -> int:
    """Run, and turn every foreseen failure into one line and an exit status.

    Returns
    -------
    int
        0; 2 for a user's mistake; 3 for NaN or Inf; 130 and 143 for SIGINT and SIGTERM.
    """
    try:
        with Signals() as signals:
            experiment, job = arguments.parse(sys.argv[1:] if argv is None else argv, dataset, prog)
            run(experiment, job, signals)
    except (UserError, Stopped) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return error.exit_status
    except FloatingPointError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 3
    return 0


def run(e: Experiment, job: Job, signals: Signals) -> dict[str, Any]:
    """Train (or go on training), evaluate, write the record; returns it.

    Raises
    ------
    UserError, Stopped, FloatingPointError
    """
    data = load(e.dataset, job.data_dir)
    parts = partition(data, e)
    evaluated(data, e)
    engines.check(e.engine)
    settings = e.to_dict()
    opened = RunFolder.open(job.folder, settings, MAY_CHANGE) if job.resume else RunFolder.create(job.folder, settings)
    with opened as folder:
        # Theano takes seconds to import: not before the user's mistakes are found.
        from parmesan_cagem import evaluation
        from parmesan_cagem.models.cagem import CaGeM
        from parmesan_cagem.sampling import class_conditional
        from parmesan_cagem.training import Trainer

        files.write_json(
            folder.path / "labels.json", {"indices": parts.labelled.tolist(), "sha256": parts.labelled_sha256}
        )
        _say(job, f"{e.model.upper()}-{e.labels} on {e.dataset}: {data.source}; {folder.path}")
        _say(job, "versions: " + ", ".join(f"{name} {version}" for name, version in provenance.versions().items()))
        engine = engines.get(e.engine, e.devices, e.precision)
        model = CaGeM(e, data.train_images.shape[1])
        duration = "a minute or two the first time" if e.engine == "c" else "about ten seconds"
        _say(job, f"compiling the training graph for engine {e.engine} ({duration})")
        trainer = Trainer(e, data, parts, model, engine, folder, signals, job.quiet)
        warnings = list(trainer.restore()) if job.resume else []
        for warning in warnings:
            print(warning, file=sys.stderr)
        trainer.run()

        if e.class_draws < 100:
            warnings.append(f"active units of z2 come from {e.class_draws} draws; fewer than 100 count too many")
        clock = time.monotonic()
        result = evaluation.evaluate(model, e, data, parts, engine, job.quiet)
        n_u, n_l = len(parts.unlabelled), len(parts.labelled)
        w_q, w_p = e.label_weights(n_u, n_l) if n_l else (None, None)
        record = {
            "schema_version": 1,
            "name": folder.path.name,
            "model": e.model,
            "dataset": {
                "name": data.name,
                "source": data.source,
                "sha256": data.sha256,
                "pixel_scale": e.pixel_scale,
                "train_images": len(data.train_images),
                "unlabelled": n_u,
                "labelled": n_l,
                "holdout": len(parts.heldout),
                "test_images": len(data.test_images),
            },
            "config": settings,
            "config_hash": e.training_hash(),
            "seed": e.seed,
            "label_seed": e.label_seed if n_l else None,
            "label_indices_sha256": parts.labelled_sha256,
            "label_weight": {"q": w_q, "p": w_p, "given": e.label_weight, "given_p": e.label_weight_p},
            "engine": e.engine,
            "device": engine.device,
            "versions": provenance.versions(),
            "git": provenance.git_state(),
            "started": trainer.position.started,
            "train_seconds": trainer.position.seconds,
            "eval_seconds": time.monotonic() - clock,
            "peak_memory_bytes": trainer.peak_memory_bytes(),
            "epochs": trainer.position.epoch,
            "steps": trainer.position.epoch * trainer.steps_per_epoch,
            "warnings": warnings,
            **evaluation.record_fields(result, e, data.test_labels),
        }
        records.write(folder.record_path, record)
        picture = folder.path / "samples.png"
        save_grid(class_conditional(model, e, engine, 10, e.eval_seed), picture)
    _print_results(record, picture)
    return record


def _say(job: Job, line: str) -> None:
    if not job.quiet:
        print(line, file=sys.stderr, flush=True)


def _print_results(record: dict[str, Any], picture: Path) -> None:
    k = record["eval"]["k"]
    bound = record["bounds"][f"F_{k}"]
    spread = "" if bound["standard_error"] is None else f" +- {bound['standard_error']:.2f}"
    print(f"bound      F_{k} = {bound['mean']:.2f}{spread} nats, on {record['eval']['images']} test images")
    if record["error_q"] is not None:
        errors = f"q(y|x) {record['error_q']:.2f} %, p(y|x) {record['error_p']:.2f} %"
        print(f"test error {errors}, on {record['eval']['error_images']} images")
    print(f"samples    {picture}")
    print(f"record     {picture.parent / 'record.json'}")
    print(table_row(record))
