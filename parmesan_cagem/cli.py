"""The console script ``cagem``: what comes after training."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from parmesan_cagem import exit_status
from parmesan_cagem.arguments import Parser
from parmesan_cagem.signals import Signals

COMMANDS = ("evaluate", "prices", "compare", "units", "tables", "figures", "report", "plan", "queue", "publish", "data")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status (:func:`exit_status.of`)."""

    def job(signals: Signals) -> None:
        args = _parser().parse_args(argv)
        importlib.import_module(f"parmesan_cagem.commands.{args.command}").run(args, signals)

    return exit_status.of("cagem", job)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="cagem", description="Evaluate runs; make tables, figures and the report.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"parmesan_cagem.commands.{name}")
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False))
    return parser
