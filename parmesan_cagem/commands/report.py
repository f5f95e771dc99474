"""``cagem report``: one self-contained HTML page with tables, figures, runs and the latent explorer."""

from __future__ import annotations

import argparse
import sys

from parmesan_cagem import arguments, files, places
from parmesan_cagem.errors import UserError
from parmesan_cagem.signals import Signals

HELP = "write one self-contained HTML page: tables, figures, a page for each run, the latent explorer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem report``."""
    arguments.add_runs_folder(parser, "--runs")
    parser.add_argument(
        "--figures",
        type=arguments.path,
        default=places.results() / "figures",
        metavar="DIR",
        help="folder that `cagem figures` wrote (default $CAGEM_RESULTS/figures, else results/figures)",
    )
    parser.add_argument(
        "--out",
        type=arguments.path,
        default=places.results() / "report.html",
        metavar="FILE",
        help="the page (default $CAGEM_RESULTS/report.html, else results/report.html)",
    )
    parser.add_argument(
        "--paper", type=arguments.path, metavar="FILE", help="published numbers (default results/paper.json)"
    )
    arguments.add_data_flags(parser, unverified=False)


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Write the page and say where it is.

    Raises
    ------
    UserError
        The runs cannot be read, or the page cannot be written.
    """
    from parmesan_cagem.report.build import build

    page, messages = build(args.runs, args.figures, args.data_dir, args.paper)
    for message in messages:
        print(f"cagem report: {message}", file=sys.stderr)
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {args.out}: cannot make its folder: {files.cause(error)}; name another file") from error
    files.write_atomically(args.out, page)
    print(f"report     {args.out} ({len(page) / 1e6:.1f} MB)")
