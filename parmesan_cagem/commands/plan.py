"""``cagem plan GRID``: what there is to do for a grid of runs, and what it costs, before anything starts."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parmesan_cagem import arguments, files, grid, plan, speeds
from parmesan_cagem.errors import UserError
from parmesan_cagem.grid import Grid, Run
from parmesan_cagem.presets import PRESETS
from parmesan_cagem.report.details import hours
from parmesan_cagem.signals import Signals
from parmesan_cagem.speeds import Device, Seconds

HELP = "what there is to do for a grid of runs, and what it costs"
Left = Mapping[str, Sequence[Seconds]]  # device -> of every run
Rows = Sequence[Mapping[str, Any]]
COUNTS = (1, 8)  # devices of a kind that are counted up; of the machine that was measured there is one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``cagem plan``."""
    usual = grid.CHECKOUT / "paper.yaml"
    parser.add_argument(
        "grid",
        type=arguments.path,
        nargs="?",
        default=usual,
        metavar="GRID",
        help="YAML file of runs (workflow/paper.yaml)",
    )
    parser.add_argument("--preset", choices=tuple(PRESETS), default="paper", help="of every run (default paper)")
    arguments.add_runs_folder(parser, "--out")
    parser.add_argument("--price", type=float, metavar="EUR_PER_HOUR", help="of one GPU: print what its hours cost")
    parser.add_argument("--speeds", type=arguments.path, metavar="FILE", help="measured times (workflow/speeds.json)")
    parser.add_argument(
        "--session",
        type=arguments.path,
        metavar="FILE",
        help="session.json of tools/gpu_session.py: a GPU's measured rates",
    )
    parser.add_argument("--json", action="store_true", help="print the same for programs")


def run(args: argparse.Namespace, signals: Signals) -> None:
    """Print the plan.

    Raises
    ------
    UserError
        The grid or the speeds cannot be read; the price is no price.
    """
    if args.price is not None and not 0 <= args.price < float("inf"):
        raise UserError(f"--price {args.price}: give EUR an hour, at least 0")
    found = grid.read(args.grid, args.preset, args.out)
    devices = speeds.read(args.speeds, args.session)
    states = [run.entry.progress() for run in found.runs]
    left = {d.name: [d.seconds(r.experiment, *s) for r, s in zip(found.runs, states, strict=True)] for d in devices}
    whole = {d.name: [d.seconds(r.experiment) for r in found.runs] for d in devices}
    totals = list(_totals(devices, {"left": left, "whole grid": whole}, found.shards, args.price))
    if args.json:
        runs = [
            _entry(run, state, {device.name: left[device.name][i] for device in devices})
            for i, (run, state) in enumerate(zip(found.runs, states, strict=True))
        ]
        facts = {d.name: {"measured": d.measured, "reasoning": d.reasoning} for d in devices}
        content = {"preset": args.preset, "shards": found.shards, "runs": runs, "devices": facts, "totals": totals}
        print(files.to_json(content, indent=2))
        return
    for line in _lines(found, states, devices, left, totals, args.price is not None):
        print(line)


def _totals(
    devices: Sequence[Device], sets: Mapping[str, Left], shards: int, price: float | None
) -> Iterator[dict[str, Any]]:
    """A row for each number of devices, of what is left and of everything; times in seconds."""
    for of, seconds in sets.items():
        for device in devices:
            for count in COUNTS[:1] if device.measured else COUNTS:
                found = plan.total(seconds[device.name], shards, count)
                yield {
                    "of": of,
                    "device": device.name,
                    "count": count,
                    "measured": device.measured,
                    "until": found.until,
                    "busy": found.busy,
                    "unknown": found.unknown,
                    "eur": None if price is None or device.measured else found.busy / 3600 * price,
                }


def _entry(run: Run, state: tuple[str, int], seconds: dict[str, Seconds]) -> dict[str, Any]:
    script, *flags = run.entry.command
    return {
        "name": run.name,
        "script": script,
        "flags": flags,
        "evaluation": arguments.evaluation_flags(run.experiment),
        "folder": str(run.entry.folder),
        "fills": list(run.fills),
        "state": state[0],
        "epochs": state[1],
        "of": run.experiment.epochs,
        "seconds": {name: {"train": one.train, "evaluate": one.evaluate} for name, one in seconds.items()},
    }


def _lines(
    plan_of: Grid, states: Sequence[tuple[str, int]], devices: Sequence[Device], left: Left, totals: Rows, price: bool
) -> Iterator[str]:
    """For people: the runs, the totals, and where the times come from."""
    header = ["run", "fills", "state"]
    header += [f"{what}, {_title(device, 1)}" for device in devices for what in ("training", "evaluation")]
    rows = []
    for i, (run, (state, epochs)) in enumerate(zip(plan_of.runs, states, strict=True)):
        times = [_time(part) for d in devices for part in (left[d.name][i].train, left[d.name][i].evaluate)]
        words = f"{state}, {epochs} of {run.experiment.epochs} epochs" if state in ("begun", "failed") else state
        rows.append([run.name, ", ".join(run.fills), words, *times])
    yield from _table(header, rows, 3)
    yield ""
    rows = []
    named = {device.name: device for device in devices}
    for row in totals:
        least = "at least " if row["unknown"] else ""
        cells = [row["of"], _title(named[row["device"]], row["count"])]
        cells += [least + _long(row["until"]), least + _time(row["busy"])]
        money = "" if row["eur"] is None else f"{least}{row['eur']:.2f}"
        rows.append([*cells, money] if price else cells)
    yield from _table(["of", "on", "done after", "device-hours", *(["EUR"] if price else [])], rows, 2)
    yield ""
    count = sum(state == "finished" for state, _ in states)
    yield f"{len(states)} runs, {count} finished; times are h:mm of what is left; evaluations in {plan_of.shards} parts"
    unknown = sum(any(None in (one.train, one.evaluate) for one in times) for times in zip(*left.values(), strict=True))
    if unknown:
        yield f"?: settings of {unknown} runs that nothing was measured with (make bench-grid measures paper.yaml's)"
    for device in devices:
        yield f"{_title(device, 1)}: {device.reasoning}"


def _title(device: Device, count: int) -> str:
    """``2 cores``, ``one H200 (estimated)``, ``8 x H200 (estimated)``."""
    if device.measured:
        return device.name
    return f"{'one' if count == 1 else f'{count} x'} {device.name} (estimated)"


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else hours(seconds)


def _long(seconds: float) -> str:
    """``30:00``, and in days from two of them on.

    Examples
    --------
    >>> _long(3600), _long(3600 * 60)
    ('1:00', '60:00 (2.5 days)')
    """
    days = f" ({seconds / 86400:.1f} days)" if seconds >= 2 * 86400 else ""
    return f"{hours(seconds)}{days}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int) -> Iterator[str]:
    """Columns aligned: the first ``texts`` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in [header, *rows]:
        left = [cell.ljust(width) for cell, width in zip(row[:texts], widths[:texts], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[texts:], widths[texts:], strict=True)]
        yield "  ".join([*left, *right]).rstrip()
