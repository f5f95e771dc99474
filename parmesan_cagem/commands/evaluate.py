"""``cagem evaluate RUN``: bounds, errors and diagnostics of a checkpoint, written into the run's record."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from parmesan_cagem import arguments, engines, records
from parmesan_cagem.config import Experiment
from parmesan_cagem.signals import Signals

HELP = "evaluate a run's checkpoint and write its record; interrupted, it goes on where it stood"
FIELDS = [field for field in dataclasses.fields(Experiment) if field.metadata["role"] == "evaluation"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem evaluate``: those of the run scripts that concern the evaluation."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run: results/runs/NAME")
    for field in FIELDS:
        arguments.add_field(parser, field, "as the run was given")
    for name in ("engine", "precision"):
        field = next(field for field in dataclasses.fields(Experiment) if field.name == name)
        arguments.add_field(parser, field, "as the run was trained")
    arguments.add_data_flags(parser)
    arguments.add_require_gpu(parser)
    parser.add_argument("--no-progress", action="store_true", help="print results only")


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Evaluate.

    Raises
    ------
    UserError
        There is no such run, its data differ from those at hand, or a flag does not fit.
    """
    records.require_run(args.run)
    given = {name: value for name, value in vars(args).items() if name in {field.name for field in FIELDS}}
    # Theano takes seconds to import.
    from parmesan_cagem import recording, trained
    from parmesan_cagem.data import load
    from parmesan_cagem.partition import evaluated, partition
    from parmesan_cagem.report.row import table_row
    from parmesan_cagem.runfolder import RunFolder

    with RunFolder(args.run) as folder:
        model = trained.load(folder.path)
        e = dataclasses.replace(model.experiment, **given)
        how = {name: getattr(args, name, getattr(e, name)) for name in ("engine", "precision")}
        engines.check(how["engine"])
        if args.require_gpu:
            engines.require_gpu(how["engine"])
        data = load(e.dataset, args.data_dir, args.unverified_data)
        parts = partition(data, e)
        evaluated(data, e)
        trained.check_data(model, data.sha256, parts.labelled_sha256)
        engine = engines.get(how["engine"], 1, how["precision"])
        if not args.no_progress:
            print(engines.where(engine), file=sys.stderr, flush=True)
        record = recording.finish(folder, model, e, data, parts, engine, args.no_progress)
    recording.print_results(record, folder)
    print(table_row(record))
