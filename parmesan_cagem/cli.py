"""The console script ``cagem``: what comes after training."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from parmesan_cagem import files
from parmesan_cagem.arguments import Parser
from parmesan_cagem.errors import UserError, make_terminal_patient, one_line, out_of_memory
from parmesan_cagem.signals import Signals, Stopped

COMMANDS = ("evaluate", "prices", "units", "tables", "figures", "report", "plan", "queue", "data")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand, and turn every foreseen failure into one line and an exit status.

    Returns
    -------
    int
        0; 2 for a user's mistake; 3 for NaN or Inf; 130, 141, 143 and 129 for SIGINT, SIGPIPE, SIGTERM and SIGHUP.
    """
    make_terminal_patient()
    try:
        with Signals("cagem") as signals:
            args = _parser().parse_args(argv)
            importlib.import_module(f"parmesan_cagem.commands.{args.command}").run(args, signals)
            sys.stdout.flush()
    except (UserError, Stopped) as error:
        print(f"cagem: {one_line(error)}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # `cagem tables --check | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's last flush would complain
        return 141
    except FloatingPointError as error:
        print(f"cagem: {one_line(error)}", file=sys.stderr)
        return 3
    except (OSError, MemoryError, RuntimeError) as error:  # what nobody nearer by foresaw: a bug keeps its traceback
        line = files.where(error) if isinstance(error, OSError) else out_of_memory(error)
        if line is None:
            raise
        print(f"cagem: {one_line(line)}", file=sys.stderr)
        return UserError.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="cagem", description="Evaluate runs; make tables, figures and the report.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"parmesan_cagem.commands.{name}")
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP, allow_abbrev=False))
    return parser
