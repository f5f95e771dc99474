"""Which cells lack a record, the commands that make each, and what they cost."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parmesan_cagem import arguments, config, places
from parmesan_cagem.config import Experiment
from parmesan_cagem.presets import PRESETS
from parmesan_cagem.report.cells import ERRORS, RANKED, size, values
from parmesan_cagem.report.details import DRAWS, PAPER_K, hours
from parmesan_cagem.report.paper import PublishedTable
from parmesan_cagem.report.runs import DEFAULTS, Run
from parmesan_cagem.report.sheet import Cell, cells
from parmesan_cagem.report.table2 import VARIANTS
from parmesan_cagem.run_queue import Entry
from parmesan_cagem.speeds import Device


@dataclass(frozen=True)
class Command:
    """A command line that makes a record, and the run that it is about.

    Attributes
    ----------
    words : tuple of str
    experiment : Experiment
    state : str
        Of the run: ``new``, ``begun`` or ``trained`` (:meth:`parmesan_cagem.run_queue.Entry.progress`).
    epochs : int
        Trained already.
    """

    words: tuple[str, ...]
    experiment: Experiment
    state: str = "new"
    epochs: int = 0

    def cost(self, devices: Sequence[Device]) -> str:
        """Training and evaluation on each device, h:mm: ``1:36 + 5:36 on 2 cores``; empty where nothing is known."""
        parts = []
        for device in devices:
            found = device.seconds(self.experiment, self.state, self.epochs)
            times = ["?" if seconds is None else hours(seconds) for seconds in (found.train, found.evaluate)]
            parts += [f"{' + '.join(times)} on {_named(device)}"] if set(times) != {"?"} else []
        return ", ".join(parts)


@dataclass(frozen=True, eq=False)
class Missing:
    """A cell that has no record, or none as large as the paper's.

    Attributes
    ----------
    cell : Cell
    name : str
        As ``Table 1, CaGeM-100, L=2, IW=1``.
    have : str
        What there is: ``no record``, ``k = 100 of 5000`` ...
    commands : tuple of Command
        What makes it.
    """

    cell: Cell
    name: str
    have: str
    commands: tuple[Command, ...]

    def lines(self, devices: Sequence[Device]) -> list[str]:
        """For people, and for a shell: the cell, and the commands indented, each with its cost as a comment."""
        lines = [f"{self.name}: {self.have}"]
        for command in self.commands:
            cost = command.cost(devices)
            lines.append(f"    {shlex.join(command.words)}" + (f"  # {cost}" if cost else ""))
        return lines


def find(
    runs: Sequence[Run], published: Mapping[str, PublishedTable], preset: str, folder: Path
) -> tuple[tuple[Missing, ...], int]:
    """Look at every cell that a run of ours could fill.

    Parameters
    ----------
    runs, published
        As for :func:`parmesan_cagem.report.tables.build`.
    preset : str
        What a cell's runs must have, or a preset before it: paper, short, demo. Commands have this one.
    folder : Path
        Where the runs' folders lie. A run begun there is resumed.

    Returns
    -------
    (missing, total) : tuple of Missing, and int
        ``total`` counts all cells.
    """
    found = [cell for table in published.values() for cell in cells(table, runs)]
    missing = (_missing(cell, published[cell.place.table], preset, folder) for cell in found)
    return tuple(one for one in missing if one), len(found)


def _missing(cell: Cell, table: PublishedTable, preset: str, folder: Path) -> Missing | None:
    name = ", ".join([*([table.where] if table.name != "text" else ["text"]), cell.row.label])
    if table.name == "table2":
        name += f", {cell.place.column} labels, {VARIANTS[cell.settings['temperature']]}"
    if table.name == "text":
        name += f", {cell.place.quantity}"
    seeds = tuple(range(1, cell.settings.get("subsets", 1) + 1))
    if cell.choice is None:
        return Missing(cell, name, "no record", tuple(_train(cell, preset, seed, folder) for seed in seeds))
    entry = cell.choice.entry
    first, planned = entry.runs[0].record, {**DEFAULTS, **PRESETS[preset]}["epochs"]
    short = []
    if RANKED.index(first["config"]["preset"]) > RANKED.index(preset):
        short.append(f"preset {first['config']['preset']}")
    if first["epochs"] < planned:
        short.append(f"{first['epochs']} of {planned} epochs")
    if short:
        return Missing(cell, name, ", ".join(short), tuple(_train(cell, preset, seed, folder) for seed in seeds))
    have, commands = [], []
    if absent := [seed for seed in seeds if seed not in entry.subsets and len(seeds) > 1]:
        have.append(f"{len(entry.subsets)} of {len(seeds)} label subsets")
        commands += [_train(cell, preset, seed, folder) for seed in absent]
    if small := _small(cell):
        have.append(small)
        errors = cell.place.quantity in ERRORS
        more = ["--class-draws", str(DRAWS)] if errors else ["--iw-samples", str(PAPER_K), "--eval-images", "0"]
        commands += [_evaluate(run, more) for run in entry.runs]
    return Missing(cell, name, ", ".join(have), tuple(commands)) if have else None


def _small(cell: Cell) -> str:
    """What the evaluation of a cell falls short of; empty if of nothing."""
    assert cell.choice is not None  # noqa: S101  for the type checker: the caller has looked
    record, quantity = cell.choice.entry.runs[0].record, cell.place.quantity
    (images, samples), whole = size(record, quantity), record["dataset"]["test_images"]
    short = [f"k = {samples} of {PAPER_K}"] if quantity == "bound" and samples < PAPER_K else []
    short += [f"{images} of {whole} images"] if images < whole else []
    short += [f"{samples} of {DRAWS} draws"] if quantity in ERRORS and samples < DRAWS else []
    return ", ".join(short)


def wanted(settings: Mapping[str, Any], preset: str, label_seed: int = 1, bound: bool = True) -> Experiment:
    """The experiment that fills a cell whole.

    Parameters
    ----------
    settings : mapping
        The cell's (:func:`parmesan_cagem.report.cells.fits`).
    preset : str
    label_seed : int
    bound : bool
        With F_5000 on all test images, also where the preset has less. Errors are always of 100 draws.

    Raises
    ------
    UserError
        The settings are no experiment.
    """
    changes = {name: values(value)[0] for name, value in settings.items() if name not in ("temperature", "subsets")}
    if settings.get("temperature") is False:
        changes["warmup_epochs"] = 0
    changes["class_draws"] = DRAWS
    if bound:
        changes |= {"iw_samples": PAPER_K, "eval_images": 0}
    return config.experiment(preset, **changes, label_seed=label_seed)


def total(found: Sequence[Missing], devices: Sequence[Device]) -> list[str]:
    """The sum of what the distinct commands cost, a line for each device."""
    commands, lines = {command.words: command for one in found for command in one.commands}.values(), []
    for device in devices:
        seconds = [device.seconds(command.experiment, command.state, command.epochs) for command in commands]
        times = [time for one in seconds for time in (one.train, one.evaluate)]
        known = [time for time in times if time is not None]
        least = "at least " if len(known) < len(times) else ""
        lines.append(f"{len(seconds)} commands: {least}{hours(sum(known))} on {_named(device)}")
    return lines


def _named(device: Device) -> str:
    return device.name if device.measured else f"{device.name} (estimated)"


def _evaluate(run: Run, more: Sequence[str]) -> Command:
    changes: Any = {name[2:].replace("-", "_"): int(value) for name, value in zip(more[::2], more[1::2], strict=True)}
    e = dataclasses.replace(Experiment.from_dict({**DEFAULTS, **run.config}), **changes)
    return Command(("cagem", "evaluate", str(run.folder), *more), e, "trained", e.epochs)


def _train(cell: Cell, preset: str, label_seed: int, folder: Path) -> Command:
    e = wanted(cell.settings, preset, label_seed, cell.place.quantity in ("bound", "F_1", "KL_z2"))
    command = ["python", f"run_{e.dataset}.py", *arguments.flags(e)]
    if folder != places.runs():
        command += ["--out", str(folder)]
    state, epochs = "new", 0
    if (folder / arguments.default_name(e) / "config.json").exists():
        command.append("--resume")
        state, epochs = Entry((), e, folder / arguments.default_name(e)).progress()
    return Command(tuple(command), e, state, epochs)
