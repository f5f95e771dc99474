"""``cagem evaluate RUN``: bounds, errors and diagnostics of a checkpoint, written into the run's record."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shlex
import sys

from parmesan_cagem import arguments, engines, records
from parmesan_cagem.config import Experiment
from parmesan_cagem.signals import Signals

HELP = "evaluate a run's checkpoint and write its record; interrupted, it goes on where it stood"
FIELDS = [field for field in dataclasses.fields(Experiment) if field.metadata["role"] == "evaluation"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem evaluate``: those of the run scripts that concern the evaluation."""
    parser.add_argument("run", type=arguments.path, metavar="RUN", help="folder of the run: results/runs/NAME")
    for field in FIELDS:
        arguments.add_field(parser, field, "as the run was given")
    for name in ("engine", "precision"):
        field = next(field for field in dataclasses.fields(Experiment) if field.name == name)
        arguments.add_field(parser, field, "as the run was trained")
    arguments.add_data_flags(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--shard", type=_shard, metavar="I/N", help="compute the I-th of N parts only, and leave it in the run's folder"
    )
    which.add_argument(
        "--merge", type=_count, metavar="N", help="write the record from the N parts, each computed with these settings"
    )
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
    from parmesan_cagem import recording, shards, trained
    from parmesan_cagem.data import load
    from parmesan_cagem.partition import evaluated, judged, partition
    from parmesan_cagem.report.row import table_row
    from parmesan_cagem.runfolder import RunFolder

    with shards.Shard(args.run, *args.shard) if args.shard else RunFolder(args.run) as place:
        model = trained.load(args.run)
        e = dataclasses.replace(model.experiment, **given)
        how = {name: getattr(args, name, getattr(e, name)) for name in ("engine", "precision")}
        engines.check(how["engine"])
        if hasattr(args, "precision"):
            engines.check_precision(how["engine"], args.precision)
        if args.require_gpu:
            engines.require_gpu(how["engine"])
        data = load(e.dataset, args.data_dir, args.unverified_data)
        parts = partition(data, e)
        data = judged(data, e, parts)
        evaluated(data, e)
        trained.check_data(model, data.sha256, parts.labelled_sha256)
        engine = engines.get(how["engine"], 1, how["precision"])
        if not args.no_progress and not args.merge:  # which computes nothing but the samples
            print(engines.where(engine), file=sys.stderr, flush=True)
        work = recording.Work(model, e, data, parts, engine, args.no_progress)
        if isinstance(place, shards.Shard):
            shards.compute(place, work)
            print(f"{place}  {place.path}; when all are there: {_command(args, '--merge', place.parts)}")
            return
        if args.merge:
            record = shards.merge(place, args.merge, work, lambda shard: _command(args, "--shard", shard.which))
        else:
            record = recording.finish(place, work)
    recording.print_results(record, place)
    print(table_row(record))


def _command(args: argparse.Namespace, flag: str, value: object) -> str:
    """The command that does another piece of the same evaluation."""
    given = []
    for name in (*(field.name for field in FIELDS), "engine", "precision", "data_dir"):
        if getattr(args, name, None) is not None:
            given += ["--" + name.replace("_", "-"), str(getattr(args, name))]
    given += ["--unverified-data"] * args.unverified_data + ["--require-gpu"] * args.require_gpu
    return shlex.join(["cagem", "evaluate", str(args.run), *given, flag, str(value)])


def _shard(text: str) -> tuple[int, int]:
    numbers = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    number, parts = (int(digits) for digits in numbers.groups()) if numbers else (0, 0)
    if not 1 <= number <= parts:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with 1 <= I <= N, as in 2/3")
    return number, parts


def _count(text: str) -> int:
    if not re.fullmatch(r"0*[1-9]\d{0,5}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of parts, as in 3")
    return int(text)
