"""``cagem tables``."""

from __future__ import annotations

import argparse

from parmesan_cagem.signals import Signals

HELP = "tables"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem tables``."""


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Not there yet."""
