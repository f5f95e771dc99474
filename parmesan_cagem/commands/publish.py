"""``cagem publish RUN...``: the weights of finished runs, small enough for git."""

from __future__ import annotations

import argparse

from parmesan_cagem import arguments, records
from parmesan_cagem.signals import Signals

HELP = "write the weights of finished runs, in float16, for git: weights.h5, which figures and evaluation read"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem publish``."""
    parser.add_argument(
        "runs", type=arguments.path, nargs="+", metavar="RUN", help="folders of runs: results/runs/NAME"
    )


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Write each file and print its name and size.

    Raises
    ------
    UserError
        A run is not finished, has no checkpoint, or its weights are too large for git.
    """
    from parmesan_cagem import published
    from parmesan_cagem.runfolder import RunFolder

    for folder in args.runs:
        records.require_run(folder)
        with RunFolder(folder):
            path = published.publish(folder)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
        signals.check()
