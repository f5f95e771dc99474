"""Interleaved rounds, their statistics, and where they were measured."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.children import Child
from benchmarks.contestants import SGEMM, Sgemm, absent
from parmesan_cagem import provenance

Series = dict[str, list[float]]


def arguments(doc: str) -> argparse.ArgumentParser:
    """The flags that all benchmarks share."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default 9)")
    parser.add_argument("--preset", default="paper", help="preset of the networks' sizes (default paper: full width)")
    parser.add_argument("--sgemm", type=int, default=3072, help="size of the square product (default 3072)")
    parser.add_argument("--data-dir", help="where MNIST is, as in run_mnist.py")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    return parser


def interleave(tasks: dict[str, Callable[[], float]], rounds: int) -> Series:
    """Run every task once a round, in an order that rotates, so that no drift of the machine favours anybody.

    Examples
    --------
    >>> interleave({"a": lambda: 1.0, "b": lambda: 2.0}, 2)
    {'a': [1.0, 1.0], 'b': [2.0, 2.0]}
    """
    names, found = list(tasks), {name: [] for name in tasks}
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            found[name].append(tasks[name]())
    return found


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Median, smallest, largest."""
    return statistics.median(values), min(values), max(values)


def ratios(values: Sequence[float], baseline: Sequence[float]) -> tuple[float, float, float]:
    """Median, smallest and largest of the ratio within each round."""
    return spread([value / base for value, base in zip(values, baseline, strict=True)])


def sgemm_tasks(n: int) -> tuple[dict[str, Callable[[], float]], list[Child]]:
    """For every BLAS at hand, a task that gives its FLOP/s, and the process that holds it."""
    children = {f"sgemm {name}": Child(f"sgemm {name}", Sgemm, name, n) for name in SGEMM if not absent(name)}
    for child in children.values():
        child.ask("run", 2)
    return {name: lambda child=child: child.ask("run", 3).value for name, child in children.items()}, [
        *children.values()
    ]


def peak(found: Series) -> tuple[str, float]:
    """The fastest BLAS and the median of its rounds, FLOP/s."""
    medians = {name: statistics.median(values) for name, values in found.items() if name.startswith("sgemm ")}
    best = max(medians, key=lambda name: medians[name])
    return best.removeprefix("sgemm "), medians[best]


def machine() -> dict[str, Any]:
    """Processor and cores, commit, versions of all that competes."""
    packages = ("jax", "jaxlib", "torch")
    versions = provenance.versions() | {name: _version(name) for name in packages}
    return {"device": provenance.device_name(), "git": provenance.git_state(), "versions": versions}


def heading(facts: dict[str, Any]) -> str:
    """A line of :func:`machine` for people."""
    names = ("python", "theano-pymc", "blas", "scipy-openblas32", "jax", "torch", "g++")
    return f"{facts['device']}; " + ", ".join(f"{name} {facts['versions'][name]}" for name in names)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, columns aligned: the first to the left, the others to the right.

    Examples
    --------
    >>> print(table(["who", "s"], [["jax", "0.1"]]))
    | who |   s |
    |:----|----:|
    | jax | 0.1 |
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    rule = [(":" + "-" * (w + 1)) if i == 0 else ("-" * (w + 1) + ":") for i, w in enumerate(widths)]
    lines = []
    for first, *others in [header, *rows]:
        cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def write(path: Path | None, result: dict[str, Any]) -> None:
    """Write JSON, if a file was asked for."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        say(f"wrote {path}")


def say(line: str) -> None:
    """Progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return provenance.ABSENT
