"""What a screen's arms differ in from their group's reference, against the spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

REFERENCE = "reference"
Runs = Sequence[Mapping[str, Any]]
Arms = Mapping[str, Mapping[int, Mapping[str, Any]]]  # arm -> seed -> run, the reference first


def groups(runs: Runs) -> Iterator[tuple[str, dict[str, dict[int, Mapping[str, Any]]]]]:
    """Each group's arms in the order of the grid, the reference first: arm -> seed -> run."""
    names = dict.fromkeys(group for run in runs for group, _ in run["arms"])
    for name in names:
        arms: dict[str, dict[int, Mapping[str, Any]]] = {REFERENCE: {}}
        for run in runs:
            for group, arm in run["arms"]:
                if group == name:
                    arms.setdefault(arm, {})[run["seed"]] = run
        yield name, arms


def usual_spread(arms: Mapping[str, Mapping[int, Any]]) -> float:
    """Median over the arms of the standard deviation of F_k over seeds; of arms with two seeds or more."""
    values = [[float(run["F_k"]) for run in by_seed.values()] for by_seed in arms.values()]
    return statistics.median([statistics.stdev(v) for v in values if len(v) > 1] or [0.0])


def effect(arm: Mapping[int, Any], reference: Mapping[int, Any], usual: float = 0.0) -> tuple[float, float, int] | None:
    """Mean difference of F_k from the reference over the common seeds, the spread, the number of seeds.

    The spread is the largest of ``usual`` and both standard deviations. None with fewer than two seeds: one run says
    nothing.
    """
    seeds = sorted(set(arm) & set(reference))
    if len(seeds) < 2:
        return None
    ours, theirs = ([float(runs[seed]["F_k"]) for seed in seeds] for runs in (arm, reference))
    return (
        statistics.mean(ours) - statistics.mean(theirs),
        max(usual, *map(statistics.stdev, (ours, theirs))),
        len(seeds),
    )
