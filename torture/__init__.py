"""Faults injected for real, by the hundred: what ``make torture`` runs. Short versions of each stand in ``tests/``."""
