"""``cagem data verify|fetch``: look at the data sets, or bring them."""

from __future__ import annotations

import argparse

from parmesan_cagem import arguments
from parmesan_cagem.presets import CLASSES
from parmesan_cagem.signals import Signals

HELP = "verify the data sets that a run would read, or download them into the user cache"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem data``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    verify = actions.add_parser("verify", help="read and check: source, digests, shapes", allow_abbrev=False)
    fetch = actions.add_parser("fetch", help="download what the user cache lacks", allow_abbrev=False)
    arguments.add_data_flags(verify)
    for action in (verify, fetch):
        action.add_argument("name", choices=(*CLASSES, "all"), nargs="?", default="all", help="data set (default all)")


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Do it, a line a data set.

    Raises
    ------
    UserError
        Data are missing, damaged or out of reach.
    """
    from parmesan_cagem.data import commands

    for name in CLASSES if args.name == "all" else (args.name,):
        if args.action == "fetch":
            print(commands.fetch(name))
        else:
            print(commands.verify(name, args.data_dir, args.unverified_data and name == "omniglot"))
