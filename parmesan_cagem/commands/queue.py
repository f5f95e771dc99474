"""``cagem queue FILE``: run what is missing of a list of runs, or of a grid, each where it was left."""

from __future__ import annotations

import argparse
import dataclasses
import time

from parmesan_cagem import arguments, grid, run_queue
from parmesan_cagem.errors import UserError
from parmesan_cagem.presets import PRESETS
from parmesan_cagem.signals import Signals

HELP = "run what is missing of a list of runs (one command a line) or of a grid (.yaml), each where it was left"
GRACE = 60.0  # seconds that a run may take to save itself when the time is over
LONG = 7 * 24 * 60.0  # minutes


class Unfinished(UserError):
    """Some runs failed, or the time did not suffice."""

    exit_status = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem queue``."""
    parser.add_argument(
        "queue",
        type=arguments.path,
        metavar="FILE",
        help="commands, one a line: run_mnist.py --labels 100 ...; or a grid, workflow/NAME.yaml, in its order",
    )
    parser.add_argument("--preset", choices=tuple(PRESETS), help="of every run of a grid (default paper)")
    arguments.add_runs_folder(parser, "--out")
    parser.add_argument("--minutes", type=float, default=LONG, metavar="M", help="stop then, every run saved (a week)")
    arguments.add_data_flags(parser, unverified=False)


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Run the queue and print what became of each entry.

    Raises
    ------
    UserError
        A line is no command of this package; the grid is none; a preset is given to commands, which have their own.
    Unfinished
        A run failed, or was stopped for lack of time.
    """
    if not 2 * GRACE / 60 < args.minutes <= LONG:
        raise UserError(f"--minutes {args.minutes}: give more than {2 * GRACE / 60:g} and at most {LONG:g}")
    entries = _entries(args)
    results = run_queue.work(entries, time.monotonic() + 60 * args.minutes, GRACE)
    for result in results:
        print(f"{result['name']}: {result['outcome']}, {result['epochs']} of {result['of']} epochs")
    left = [result for result in results if not str(result["outcome"]).startswith("finished")]
    if left:
        raise Unfinished(f"{len(left)} of {len(results)} runs are not finished; the same command goes on with them")


def _entries(args: argparse.Namespace) -> list[run_queue.Entry]:
    if args.queue.suffix not in (".yaml", ".yml"):
        if args.preset:
            raise UserError(f"--preset {args.preset}: the commands of {args.queue} have their own; leave it out")
        return run_queue.read(args.queue, args.out, args.data_dir)
    where = ["--out", str(args.out), *(["--data-dir", str(args.data_dir)] if args.data_dir else [])]
    entries = [run.entry for run in grid.read(args.queue, args.preset or "paper", args.out).runs]
    return [dataclasses.replace(entry, command=(*entry.command, *where)) for entry in entries]
