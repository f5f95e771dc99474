"""``cagem compare RUN RUN...``: the bounds of runs on the same images, and their differences from the first's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parmesan_cagem import arguments, image_bounds, records
from parmesan_cagem.errors import UserError, one_line
from parmesan_cagem.image_bounds import ImageBounds, difference
from parmesan_cagem.report.protocol import obstacle
from parmesan_cagem.signals import Signals

HELP = "hold the bounds of evaluated runs against the first's, image by image: differences, and their standard errors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem compare``."""
    parser.add_argument("first", type=arguments.path, metavar="RUN", help="folder of a run: results/runs/NAME")
    parser.add_argument("others", type=arguments.path, nargs="+", metavar="RUN", help="runs to hold against it")


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Print a line for each run.

    Raises
    ------
    UserError
        A run has no record, or no bounds of single images; or images, samples, seeds or data differ from the first's.
    """
    record, bounds = _read(args.first)
    names = list(bounds.by_name)[::-1]  # F_k first
    lines = [["", "epochs", *(word for name in names for word in (name, "less the first's"))], _line(record, names)]
    for folder in args.others:
        its, own = _read(folder)
        if reason := obstacle(record, its):
            raise UserError(f"{folder}: {reason} as of {args.first}; evaluate both alike with `cagem evaluate`")
        lines.append(_line(its, names, [_words(*difference(bounds, own, name)) for name in names]))
        signals.check()
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *cells in lines:
        print("  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip())
    print(f"{len(bounds.indices)} {records.images(record)}; +- is the standard error over images, not over seeds")


def _read(folder: Path) -> tuple[dict[str, Any], ImageBounds]:
    records.require_run(folder)
    record = records.read(folder / "record.json")
    bounds = image_bounds.read(folder, record)
    if bounds is None:
        raise UserError(f"{folder}: no bounds.csv of its record; `cagem evaluate {folder}` writes it")
    return record, bounds


def _line(record: dict[str, Any], names: list[str], less: Sequence[str] = ("", "")) -> list[str]:
    means = [f"{record['bounds'][name]['mean']:.2f}" for name in names]
    pairs = (word for pair in zip(means, less, strict=False) for word in pair)  # k = 1 has one bound
    return [one_line(record["name"]), str(record["epochs"]), *pairs]


def _words(less: float, error: float | None) -> str:
    return f"{less:+.2f}" + ("" if error is None else f" +- {error:.2f}")
