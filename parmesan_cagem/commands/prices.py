"""``cagem prices RUN``: what the posteriors of a run cost, written beside its record (paper, Appendix A)."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parmesan_cagem import arguments, engines, records
from parmesan_cagem.config import Experiment
from parmesan_cagem.errors import UserError
from parmesan_cagem.options import MOST
from parmesan_cagem.signals import Signals

if TYPE_CHECKING:  # Theano takes seconds to import
    from parmesan_cagem.runfolder import RunFolder

HELP = "split the gap between F and log p(x) of an evaluated run into the prices of its posteriors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem prices``; the images and the protocol are those of the run's record."""
    parser.add_argument("run", type=arguments.path, metavar="RUN", help="folder of an evaluated run: results/runs/NAME")
    parser.add_argument(
        "--outer",
        type=int,
        default=10,
        metavar="M",
        help="draws of the first variable, z1 or a, for each image (default 10)",
    )
    parser.add_argument("--inner", type=int, default=100, metavar="K", help="draws of the rest for each (default 100)")
    parser.add_argument(
        "--one-layer",
        type=arguments.path,
        metavar="RUN",
        help="evaluated run of --model vae --layers 1 with the same schedule and protocol: says whether the layer pays",
    )
    for name in ("engine", "precision"):
        field = next(field for field in dataclasses.fields(Experiment) if field.name == name)
        arguments.add_field(parser, field, "as the run was evaluated")
    arguments.add_data_flags(parser)
    parser.add_argument("--no-progress", action="store_true", help="print results only")


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Measure the prices and write prices.json.

    Raises
    ------
    UserError
        There is no such run, it has no record or one of other weights, its inference has another order, or the
        one-layer model is no match.
    """
    for flag, value, least in (("--outer", args.outer, 1), ("--inner", args.inner, 2)):
        if not least <= value <= MOST:
            raise UserError(f"{flag} {value}: must be at least {least}, and at most {MOST}")
    record, e = _record(args.run)
    beside = None
    if args.one_layer is not None:
        beside = _record(args.one_layer)[0]
    from parmesan_cagem import prices_record

    if beside is not None:
        prices_record.one_layer(record, beside, args.one_layer, None)  # its refusals come before hours of work
    from parmesan_cagem import pricing
    from parmesan_cagem.data import load
    from parmesan_cagem.runfolder import RunFolder

    how = {name: getattr(args, name, record["eval"][name]) for name in ("engine", "precision")}
    engines.check(how["engine"])
    if hasattr(args, "precision"):
        engines.check_precision(how["engine"], args.precision)
    with RunFolder(args.run) as folder:
        data = load(e.dataset, args.data_dir, args.unverified_data)
        engine = engines.get(how["engine"], 1, how["precision"])
        one_layer = None if beside is None else (args.one_layer, beside)
        prices = pricing.finish(folder, record, e, data, engine, args.outer, args.inner, one_layer, args.no_progress)
    _print(prices, folder)


def _record(run: Path) -> tuple[dict[str, Any], Experiment]:
    records.require_run(run)
    if not (run / "record.json").exists():
        raise UserError(f"{run}: no record, and prices need its F_1 and F_k; `cagem evaluate {run}` writes it")
    record = records.read(run / "record.json")
    return record, Experiment.from_dict(record["config"])


def _print(prices: dict[str, Any], folder: RunFolder) -> None:
    first, later, k = prices["first"], " and ".join(prices["later"]), prices["protocol"]["k"]
    lines = [(name, name.replace("_k", f"_{k}")) for name in ("F_1", "middle", "F_k")]
    lines += [("price_later", f"price of {later}"), ("price_first", f"price of {first}")]
    values = [(label, prices["numbers"][name]) for name, label in lines]
    if prices["one_layer"]:
        values.append((f"gain over {prices['one_layer']['name']}", prices["one_layer"]["gain"]))
    width = max(len(label) for label, _ in values)
    for label, value in values:
        error = value["standard_error"]
        print(f"{label:{width}}  {value['mean']:.2f}" + ("" if error is None else f" +- {error:.2f}") + " nats")
    print(f"prices     {folder.path / 'prices.json'}")
