"""``cagem report``."""

from __future__ import annotations

import argparse

from parmesan_cagem.signals import Signals

HELP = "report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem report``."""


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Not there yet."""
