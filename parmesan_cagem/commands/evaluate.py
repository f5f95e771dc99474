"""``cagem evaluate``."""

from __future__ import annotations

import argparse

from parmesan_cagem.signals import Signals

HELP = "evaluate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem evaluate``."""


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Not there yet."""
